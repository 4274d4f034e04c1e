"""Tokenizers are read as pipelines read them, and written in UTF-8 whatever the locale."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.errors import ExportError

_WRITE = """
import pathlib, sys
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.tokenization import write_tokenizers
write_tokenizers(find_checkpoint(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


def test_a_vocabulary_of_any_script_is_written_where_the_locale_is_ascii(tiny_pipeline: Path, tmp_path: Path) -> None:
    """Python falls back on UTF-8 in the C locale, unless it is told not to, as other locales do not let it."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    arguments = [sys.executable, "-c", _WRITE, str(tiny_pipeline), str(tmp_path)]
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    record = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert "Ġ" in record["model"]["vocab"]


def test_a_bare_vocabulary_is_cut_as_a_pipeline_cuts_it(copy: Path) -> None:
    """vocab.json and merges.txt alone; how they are padded and how long prompts are is CLIP's default."""
    folder = copy / "tokenizer"
    vocabulary = CLIPTokenizer.from_pretrained(folder)
    merges = [" ".join(pair) for pair in json.loads(vocabulary.backend_tokenizer.to_str())["model"]["merges"]]
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary.get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    found = find_checkpoint(str(copy)).tokenizer()
    for prompt in ("", "a photo of the Cat", "blue!? house, été"):
        assert (
            found(prompt).input_ids
            == vocabulary(prompt).input_ids
            == CLIPTokenizer.from_pretrained(folder)(prompt).input_ids
        )
    assert (found.pad_token_id, found.eos_token_id) == (vocabulary.pad_token_id, vocabulary.eos_token_id)


def test_a_folder_of_neither_configuration_nor_vocabulary_is_no_tokenizer(copy: Path) -> None:
    for file in (copy / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(ExportError, match=r"tokenizer cannot be loaded: |tokenizer_config\.json is missing"):
        find_checkpoint(str(copy))

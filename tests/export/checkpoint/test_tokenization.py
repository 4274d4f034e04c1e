"""Tokenizers are written in UTF-8 whatever the locale."""

import json
import os
import subprocess
import sys
from pathlib import Path

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

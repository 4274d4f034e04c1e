"""Lists of prompts, NeMo's CSV, memscan's own form as text, and which form a file is taken for."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.reading import Reading
from memscan.scanner.evaluation.ground_truth import read_ground_truth

TOP = np.arange(64).reshape(8, 8) < 32


def write(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def test_one_prompt_a_line_is_memorized(tmp_path: Path) -> None:
    truth = read_ground_truth(write(tmp_path, "sd1_mem.txt", "a cup, blue\n\nthe rug\na cup, blue\n"))
    assert [(one.prompt, one.kind, one.mask) for one in truth.truths] == [
        ("a cup, blue", "memorized", None),
        ("the rug", "memorized", None),
    ]
    assert truth.remarks == (
        "ground truth of the format prompts (memorized prompts, one a line or in a column), told by its columns:"
        " 2 prompts in 3 rows, all taken as memorized, whatever the seed",
    )


@pytest.mark.parametrize("name", ["sd1_nmem.txt", "unmemorized_prompts.txt", "my_negatives.txt"])
def test_a_list_that_is_not_memorized_by_its_name_is_refused(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, name, "a cup\n")
    with pytest.raises(UsageError, match="is by its name a list of prompts that are not memorized: give it as --neg"):
        read_ground_truth(file)
    assert read_ground_truth(file, Reading(format="prompts")).truths[0].kind == "memorized"


def test_negatives_are_a_file_of_their_own(tmp_path: Path) -> None:
    memorized = write(tmp_path, "sd1_mem.txt", "a cup\n")
    negatives = Path(write(tmp_path, "sd1_nmem.csv", "Caption;URL\nthe rug;x\nthe rug;x\n"))
    truth = read_ground_truth(memorized, Reading(negatives=negatives))
    assert [(one.prompt, one.kind, one.mask) for one in truth.truths][1:] == [("the rug", "none", None)]
    negatives.write_text("Caption;URL\na cup;x\n")
    with pytest.raises(UsageError, match=r"1 of its prompts are memorized by the ground truth: a cup$"):
        read_ground_truth(memorized, Reading(negatives=negatives))


def test_wens_json_lines_and_membenchs_csv_are_lists(tmp_path: Path) -> None:
    wen = write(tmp_path, "sdv1_500_memorized.jsonl", '{"caption": "a cup", "index": 5, "url": "x"}\n')
    bench = write(tmp_path, "SD1_final.csv", ",prompt,urls\n0,\"a cup, blue\",\"['x', 'y']\"\n")
    assert [read_ground_truth(file).truths[0].prompt for file in (wen, bench)] == ["a cup", "a cup, blue"]


def test_nemos_types(tmp_path: Path) -> None:
    content = (
        ";Caption;URL;type;mean_sscd;max_sscd;Index\n"
        '0;a cup;"http://x;y";VM;0.9;0.95;11\n'
        '1;"the ""rug""";http://z;TM;0.8;0.9;12\n'
    )
    truth = read_ground_truth(write(tmp_path, "memorized_laion_prompts.csv", content))
    assert [(one.prompt, one.kind, one.mask is None) for one in truth.truths] == [
        ("a cup", "global", False),
        ('the "rug"', "local", True),
    ]
    assert truth.remarks[0].startswith("ground truth of the format nemo (NeMo's: Caption, type), told by its columns")
    with pytest.raises(UsageError, match=r"row 0: type is 'XM', not one of VM, TM$"):
        read_ground_truth(write(tmp_path, "x.csv", "Caption;type\na;XM\n"))


def test_a_table_without_labels_is_never_taken_for_memorized(tmp_path: Path) -> None:
    """NeMo's list of COCO captions, and a manifest that was given by mistake."""
    unlabelled = write(tmp_path, "coco2014_val_10000.csv", "Caption,URL,Index\na cup,x,1\n")
    pq.write_table(pa.table({"prompt": ["a"], "url": ["x"]}), tmp_path / "manifest.parquet")
    for file in (unlabelled, str(tmp_path / "manifest.parquet")):
        with pytest.raises(UsageError, match=r"is no ground truth: it lacks .*kind"):
            read_ground_truth(file)


@pytest.mark.parametrize("name", ["truth.csv", "truth.jsonl"])
def test_our_own_form_as_text(tmp_path: Path, name: str) -> None:
    counts = coco.encode(np.asfortranarray(TOP.astype(np.uint8)))["counts"].decode()
    Image.fromarray(TOP.astype(np.uint8) * 255).save(tmp_path / "m.png")
    if name.endswith("csv"):
        content = "prompt,kind,seed,mask,mask_height,mask_width,mask_file\n"
        content += f'a,local,1,"{counts}",8,8,\na,none,2,,,,\na,local,3,,,,m.png\nb,memorized,,,,,\n'
    else:
        content = '{"prompt": "a", "kind": "local", "seed": 1, "mask": {"size": [8, 8], "counts": "%s"}}\n' % counts  # noqa: UP031
        content += '{"prompt": "a", "kind": "none", "seed": 2}\n'
        content += '{"prompt": "a", "kind": "local", "seed": 3, "mask_file": "m.png"}\n'
        content += '{"prompt": "b", "kind": "memorized"}\n'
    truth = read_ground_truth(write(tmp_path, name, content))
    found = [truth.truths[index] for seed in (1, 2, 3) for index in truth.find(None, "a", seed)]
    assert [one.kind for one in found] == ["local", "none", "local"]
    assert [one.mask.mean() for one in found if one.mask is not None] == [0.5, 0.0, 0.5]
    assert (truth.find(None, "a", 4), truth.truths[truth.find(None, "b", 9)[0]].mask) == ((), None)
    assert truth.remarks == ()


def test_labels_alone_need_no_other_columns(tmp_path: Path) -> None:
    truth = read_ground_truth(write(tmp_path, "t.csv", "prompt,kind\na,memorized\nb,none\n"))
    assert [(one.kind, one.mask) for one in truth.truths] == [("memorized", None), ("none", None)]
    assert not truth.has_masks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,kind\na\n", "row 0 has 1 fields where the header has 2"),
        ("prompt,kind,kind\na,none,none\n", 'it has two columns "kind"'),
        ('prompt,kind\n"a,none\n', "line 2 is not CSV (unexpected end of data)"),
        ("prompt,kind,seed\na,none,x\n", "row 0: seed is 'x', not a whole number from 0"),
        (
            "prompt,kind,seed\na,none,1\na,none,\n",
            "row 1 and others have the same prompt 'a', and only some of",
        ),
        ("prompt,kind,seed\na,none,1\na,none,1\n", "rows 0 and 1 have the same prompt 'a' and seed 1"),
        ("prompt,kind,mask,mask_file\na,local,xx,m.png\n", "row 0: both mask and mask_file are given"),
        ("prompt,kind,mask,mask_height,mask_width\na,local,xx,a,b\n", "row 0: mask_height is 'a', not a whole number"),
        ("prompt,kind,mask_file\na,memorized,m.png\n", "row 0: the mask: no such image: m.png"),
        ("prompt,kind,training_image\na,none,x.png\n", "row 0: training_image is no column of text: write Parquet"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_ground_truth(write(tmp_path, "truth.csv", content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "row 0 is no JSON"),
        ('{"prompt": "a", "kind": NaN}', "row 0 is NaN is no number of JSON"),
        ('{"prompt": "a", "prompt": "b"}', "row 0 is a key is given twice in one object"),
        ("[" * 10_000, "row 0 is no JSON"),
        ('{"prompt": "a", "kind": "none"}\n7', "row 1 is no JSON object"),
        ('{"prompt": "a", "kind": "none", "seed": 1.5}', "row 0: seed is 1.5, not a whole number"),
        ('{"prompt": "a", "kind": "none", "seed": true}', "row 0: seed is True, not a whole number"),
        ('{"prompt": ["a"], "kind": "none"}', "row 0: prompt is ['a'], not a text"),
        ('{"prompt": "a", "kind": ["none"]}', "row 0: kind is ['none'], not one of"),
        (
            '{"prompt": "a", "kind": "local", "mask": {"size": [2, 99999999], "counts": "0"}}',
            "mask_width is 99999999, not a",
        ),
        ('{"prompt": "a", "kind": "local", "mask": {"counts": "0"}}', "the size of the mask is None"),
    ],
)
def test_json_that_cannot_be_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_ground_truth(write(tmp_path, "truth.jsonl", content))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"prompt,kind\ncaf\xe9,none\n")
    with pytest.raises(UsageError, match=r"line 2 is not UTF-8$"):
        read_ground_truth(str(tmp_path / "t.csv"))

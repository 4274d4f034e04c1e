"""Bundle format 5: what `bundle.json` says of tokenizers, graphs and dtypes, and how what it lacks is refused."""

import dataclasses
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle, bundle_record, open_bundle
from memscan.scanner.bundle_parts import (
    MAPS,
    AddedAdapter,
    AddedEmbedding,
    Agreement,
    Certificate,
    Dtypes,
    Text,
    Tokenization,
)
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.errors import BundleError, UsageError
from memscan.scanner.metrics import catalogue
from memscan.scanner.run.choice import choose
from memscan.scanner.settings import DERIVATIVES
from tests.analytic_bundle import BOS, EOS, PAD, write_analytic_bundle
from tests.analytic_model import LATENT, MAX_LENGTH

CLIP, CLIP_2, T5 = (
    Tokenization("tokenizer.json", 77, 49407, 49407, 49406),
    Tokenization("tokenizer_2.json", 77, 0, 49407, 49406),
    Tokenization("tokenizer_3.json", 512, 0, 1),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_analytic_bundle(tmp_path / "analytic")


def rewritten(bundle: Bundle, **changed: Any) -> Path:
    file = bundle.path / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    return bundle.path


def record(files: dict[str, str]) -> dict[str, Any]:
    embedded = open_bundle(BUNDLE, verify=False)
    return bundle_record(
        model={"id": "m", "revision": None, "digest": "0"},
        prediction_type="epsilon",
        latent_shape=LATENT,
        image_size=(32, 32),
        schedule=embedded.schedule,
        text=embedded.text,
        tangents_per_call=8,
        passes={"exact": 10.2},
        certificate=None,
        defaults=embedded.defaults,
        calibrations=(),
        baseline=None,
        dtypes=Dtypes("float16", "bfloat16"),
        graphs={"step.onnx": {"eps": ("prompt",)}, "elsewhere.onnx": {"eps": ("none",)}},
        files=files,
    )


@pytest.mark.parametrize("version", [1, 2, 3, 7, True, None])
def test_another_format_is_refused_in_one_line(bundle: Bundle, version: object) -> None:
    message = f"bundle format {version}, this memscan reads 4 to 6: export the model again"
    with pytest.raises(BundleError, match=f"^[^\n]* has {re.escape(message)}$"):
        open_bundle(rewritten(bundle, format_version=version))


def test_a_bundle_of_format_4_is_one_without_the_graphs_that_look_into_the_denoiser(bundle: Bundle) -> None:
    written = json.loads((bundle.path / "bundle.json").read_text())
    looking = {"observe.onnx", "condition.onnx"}
    older = {name: gives for name, gives in written["graphs"].items() if name not in looking}
    files = {name: digest for name, digest in bundle.files.items() if name not in looking}
    opened = open_bundle(rewritten(bundle, format_version=4, graphs=older, files=files))
    assert opened.gives("token_attention", "prompt") == opened.gives("condition_product", "prompt") == ()
    settings = {"mask_map": "dh_uncond", "score_name": None, "steps": (), "derivative": "exact"}
    chosen = functools.partial(choose, opened, **settings, references={"update_z"})
    lacking = {"bright_ending", "attention_entropy", "bottleneck_spread", "condition_jacobian"}
    assert catalogue.METRICS.keys() - chosen(["all"]).metrics == lacking
    with pytest.raises(
        UsageError, match=r"^the metric bright_ending asks for last_token_attention of prompt, which no"
    ):
        chosen(["bright_ending"])


@pytest.mark.parametrize("rules", [(CLIP,), (CLIP, CLIP_2), (CLIP, CLIP_2, T5)], ids=["one", "two", "three"])
def test_any_number_of_tokenizers_comes_back_from_the_record(bundle: Bundle, rules: tuple[Tokenization, ...]) -> None:
    text = Text(rules, "nothing", zero_uncond=True)
    for rule in rules:
        (bundle.path / rule.file).write_text("{}")
    files = bundle.files | {rule.file: "0" * 64 for rule in rules}
    path = rewritten(bundle, text=dataclasses.asdict(text), files=files)
    assert open_bundle(path, verify=False).text == text


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"text": dataclasses.asdict(Text((Tokenization("other.json", 8, PAD, EOS, BOS),)))}, "other.json"),
        ({"graphs": {"product.onnx": {"product": ["prompt"]}}}, "product.onnx"),
    ],
    ids=["tokenizer", "graph"],
)
def test_what_the_record_names_must_be_among_the_files(bundle: Bundle, changed: dict[str, Any], missing: str) -> None:
    with pytest.raises(BundleError, match=f"is incomplete: it has no {missing}; export the model again$"):
        open_bundle(rewritten(bundle, **changed))


def test_the_record_lists_every_graph_once_with_what_it_gives() -> None:
    files = ("step.onnx", "step.sliced.onnx", "vae_decoder.onnx", "weights.bin", "tokenizer.json", "baseline/step.onnx")
    listed = record(dict.fromkeys(files, "0"))["graphs"]
    assert listed == {"step.onnx": {"eps": ("prompt",)}, "vae_decoder.onnx": {}, "baseline/step.onnx": {}}


def test_a_bundle_says_which_graphs_give_a_quantity(bundle: Bundle, tmp_path: Path) -> None:
    assert (
        bundle.gives("eps", "prompt")
        == bundle.gives("eps", "none")
        == (
            "step.onnx",
            "measure.onnx",
            "measure.shallow.onnx",
        )
    )
    assert bundle.gives("token_attention", "none") == bundle.gives("bottleneck", "prompt") == ("observe.onnx",)
    assert bundle.gives("condition_product", "prompt") == ("condition.onnx",)
    assert bundle.gives("condition_product", "none") == ()
    assert bundle.gives("diagonal", "none") == ("measure.onnx", "measure.shallow.onnx")
    assert bundle.gives("denoised", "prompt") == ("step.onnx",)
    assert bundle.gives("diagonal", "baseline") == ("baseline/measure.onnx", "baseline/measure.shallow.onnx")
    assert bundle.gives("product", "prompt") == bundle.gives("token_attention", "baseline") == ()
    without = write_analytic_bundle(tmp_path / "without", baseline=False)
    assert without.gives("eps", "baseline") == ()


def test_the_embedded_bundle_gives_what_the_maps_need() -> None:
    embedded = open_bundle(BUNDLE, verify=False)
    measuring = tuple(map(graph_names.measure, embedded.passes))
    assert set(embedded.gives("diagonal", "prompt")) == set(embedded.gives("diagonal", "none")) == set(measuring)
    of_baseline = set(map(graph_names.of_baseline, measuring))
    assert set(embedded.gives("diagonal", "baseline")) == set(embedded.gives("eps", "baseline")) == of_baseline
    assert embedded.gives("denoised", "prompt") == ("step.onnx",)
    assert embedded.dtypes == Dtypes("float16", "float32")
    assert [rule.file for rule in embedded.text.tokenizers] == ["tokenizer.json"]


def test_default_probes_may_be_left_to_the_scanner(bundle: Bundle) -> None:
    defaults = json.loads((bundle.path / "bundle.json").read_text())["defaults"]
    assert open_bundle(rewritten(bundle, defaults=defaults | {"probes": None})).defaults.probes is None


def test_derivatives_and_their_certificate_come_back_from_the_record(tmp_path: Path) -> None:
    certificate = Certificate(
        3,
        "ab" * 32,
        (Agreement("shallow", "dh_uncond", 201, 0.9979, 0.75), Agreement("shallow", "dh_uncond", 1, None, None)),
    )
    found = write_analytic_bundle(tmp_path / "certified", derivative="shallow", certificate=certificate)
    assert found.certificate == certificate
    assert found.certificate.agreement("shallow", "dh_uncond", 201) == certificate.agreements[0]
    assert found.certificate.agreement("shallow", "dh_base", 201) is None
    assert found.passes == {"shallow": 2.0, "exact": 5.6}
    assert found.derivatives == ("shallow", "exact")
    assert found.defaults.derivative == "shallow"
    assert {one.derivative for one in found.calibrations} == {"shallow"}
    assert json.loads((found.path / "bundle.json").read_text())["passes"] == {"shallow": 2.0, "exact": 5.6}


def test_a_bundle_has_no_certificate_unless_it_says_so(bundle: Bundle) -> None:
    assert bundle.certificate is None
    assert bundle.defaults.derivative == "exact"


@pytest.mark.parametrize("graph", ["measure.shallow.onnx", "baseline/measure.shallow.onnx", "measure.onnx"])
def test_a_kind_of_derivative_that_is_listed_must_have_its_graphs(bundle: Bundle, graph: str) -> None:
    record = json.loads((bundle.path / "bundle.json").read_text())
    left = {key: {name: one for name, one in record[key].items() if name != graph} for key in ("files", "graphs")}
    with pytest.raises(BundleError, match=f"is incomplete: it has no {graph}; export the model again$"):
        open_bundle(rewritten(bundle, **left))


def test_the_maps_that_a_bundle_can_name_are_the_catalogues() -> None:
    assert catalogue.MAPS == MAPS


def test_names_of_files_and_inputs() -> None:
    assert [graph_names.tokenizer(index) for index in range(3)] == [rule.file for rule in (CLIP, CLIP_2, T5)]
    assert [graph_names.input_ids(index) for index in range(3)] == ["input_ids", "input_ids_2", "input_ids_3"]
    assert graph_names.sliced("baseline/measure.onnx") == "baseline/measure.sliced.onnx"
    assert graph_names.whole("baseline/measure.sliced.onnx") == "baseline/measure.onnx"
    assert graph_names.whole("measure.onnx") == "measure.onnx"
    assert [graph_names.measure(kind) for kind in DERIVATIVES] == [
        "measure.shallow.onnx",
        "measure.frozen.onnx",
        "measure.onnx",
    ]
    assert graph_names.sliced("measure.shallow.onnx") == "measure.shallow.sliced.onnx"
    assert graph_names.uncond("text_embeds") == "uncond_text_embeds"


def test_the_analytic_tokenizer_is_described(bundle: Bundle) -> None:
    assert bundle.text.tokenizers == (Tokenization("tokenizer.json", MAX_LENGTH, PAD, EOS, BOS),)


def test_what_was_made_of_the_text_comes_back_from_the_record(bundle: Bundle) -> None:
    assert (bundle.embeddings, bundle.text.clip_skip, bundle.text.tokenizers[0].concepts) == ((), 0, ())
    record = json.loads((bundle.path / "bundle.json").read_text())
    embedding = {"file": "toy.safetensors", "digest": "a" * 64, "token": "<toy>"}
    rule = {**record["text"]["tokenizers"][0], "concepts": [{"token": "<toy>", "vectors": 3}]}
    text = {**record["text"], "clip_skip": 1, "tokenizers": [rule]}
    path = rewritten(bundle, model={**record["model"], "embeddings": [embedding]}, text=text)
    found = open_bundle(path)
    assert found.embeddings == (AddedEmbedding("toy.safetensors", "a" * 64, "<toy>"),)
    assert found.text.clip_skip == 1
    (concept,) = found.text.tokenizers[0].concepts
    assert concept.written == "<toy> <toy>_1 <toy>_2"
    rewritten(bundle, text={**text, "tokenizers": [{**rule, "concepts": [{"token": "<toy>", "vectors": 1}]}]})
    with pytest.raises(BundleError, match=r"text\.tokenizers\[0\]\.concepts\[0\].*vectors is 1, "):
        open_bundle(path)


def test_what_a_bundle_of_format_4_or_5_does_not_say_of_its_text_is_nothing(bundle: Bundle) -> None:
    text = json.loads((bundle.path / "bundle.json").read_text())["text"]
    del text["clip_skip"], text["tokenizers"][0]["concepts"]
    for version in (4, 5):
        found = open_bundle(rewritten(bundle, text=text, format_version=version))
        assert (found.text.clip_skip, found.text.tokenizers[0].concepts) == (0, ())


def test_adapters_that_the_weights_hold_come_back_from_the_record(bundle: Bundle) -> None:
    assert bundle.adapters == ()
    model = json.loads((bundle.path / "bundle.json").read_text())["model"]
    adapters = [{"file": "style.safetensors", "digest": "a" * 64, "scale": 0.8}]
    path = rewritten(bundle, model={**model, "adapters": adapters})
    assert open_bundle(path).adapters == (AddedAdapter("style.safetensors", "a" * 64, 0.8),)
    rewritten(bundle, model={**model, "adapters": [{**adapters[0], "digest": "a"}]})
    with pytest.raises(BundleError, match=r"model\.adapters\[0\].*digest is 'a', not a SHA-256"):
        open_bundle(path)

"""Which model is scanned where --model is not given; the toy never passes for a customer's model by mistake."""

from pathlib import Path

import pytest

from memscan.scanner import embedded
from memscan.scanner.configuration import FILE
from memscan.scanner.errors import BundleError, UsageError
from memscan.scanner.model_choice import REQUIRE_VARIABLE, VARIABLE, choose_model


@pytest.fixture(autouse=True)
def nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)


def test_without_a_name_it_is_the_toy() -> None:
    chosen = choose_model()
    assert (chosen.path, chosen.named_by, chosen.is_toy) == (embedded.BUNDLE, None, True)


def test_argument_goes_before_variable_and_variable_before_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(FILE).write_text('model = "from-file"\n')
    assert choose_model() == (Path("from-file"), FILE)
    monkeypatch.setenv(VARIABLE, "from-variable")
    assert choose_model() == (Path("from-variable"), VARIABLE)
    assert choose_model("given") == (Path("given"), "--model")
    assert not choose_model("given").is_toy


def test_toy_can_be_asked_for_by_name() -> None:
    assert choose_model("testbed", require=True) == (embedded.BUNDLE, "--model")
    assert choose_model("testbed").is_toy


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_required_model_refuses_the_toy(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no model is named"):
        choose_model(require=True)
    monkeypatch.setenv(REQUIRE_VARIABLE, value)
    with pytest.raises(UsageError, match="no model is named"):
        choose_model()
    assert choose_model("given").path == Path("given")


def test_file_may_require_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(FILE).write_text("require_model = true\n")
    with pytest.raises(UsageError, match="no model is named"):
        choose_model()
    monkeypatch.setenv(VARIABLE, "from-variable")
    assert choose_model().path == Path("from-variable")


@pytest.mark.parametrize("value", ["", "0", "no", "False", "off"])
def test_variable_that_is_off_requires_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_VARIABLE, value)
    assert choose_model().is_toy


def test_variable_that_is_neither_on_nor_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_VARIABLE, "perhaps")
    with pytest.raises(UsageError, match=f"{REQUIRE_VARIABLE}=perhaps: expected 1 or 0"):
        choose_model()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model = ", "cannot be read"),
        (b'model = "\xff"', "cannot be read"),
        (b"model = 3", "model is 3, not a str"),
        (b'require_model = "yes"', "require_model is 'yes', not a bool"),
        (b'modle = "sd14"', r"'modle' is no setting: did you mean model\?"),
    ],
)
def test_file_that_cannot_be_understood_is_refused(content: bytes, message: str) -> None:
    Path(FILE).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        choose_model("given")


def test_error_says_who_named_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere")
    with pytest.raises(BundleError, match=r"no bundle at nowhere.*\(nowhere is the model by MEMSCAN_MODEL\)"):
        choose_model().open()
    with pytest.raises(BundleError, match=r"make one with `memscan export MODEL elsewhere`$"):
        choose_model("elsewhere").open()

"""Options from the command line, the environment and a file, in this order; how a command logs."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.commands.configured import configured
from memscan.scanner.commands.parameters import UnicodeText
from memscan.scanner.notes import LOGGER, bars_are_welcome, note, somebody_listens, warn
from tests.scanner.run.run_command import error


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def options(*arguments: str) -> dict[str, Any]:
    """What a command of the name "run" is given."""
    given: dict[str, Any] = {}

    @click.command("run")
    @click.option("--batch-size", type=click.IntRange(1), default=8)
    @click.option("--carry", multiple=True, type=UnicodeText())
    @click.option("--guidance", "guidance_scale", type=float)
    @click.option("--images", is_flag=True)
    def command(**values: Any) -> None:
        given.update(values)

    configured(command, ["run", "show"])
    command.main(list(arguments), "run", standalone_mode=False, auto_envvar_prefix="MEMSCAN_RUN")
    return given


def test_command_line_goes_before_environment_and_environment_before_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options()["batch_size"] == 8
    Path("memscan.toml").write_text("[run]\nbatch_size = 1\n")
    assert options()["batch_size"] == 1
    monkeypatch.setenv("MEMSCAN_RUN_BATCH_SIZE", "2")
    assert options()["batch_size"] == 2
    assert options("--batch-size", "3")["batch_size"] == 3


def test_every_kind_of_option_can_stand_in_the_file() -> None:
    Path("memscan.toml").write_text('[run]\nbatch-size = "4"\ncarry = ["a", "b c"]\nguidance = 7.5\nimages = true\n')
    assert options() == {"batch_size": 4, "carry": ("a", "b c"), "guidance_scale": 7.5, "images": True}


def test_config_names_the_file_and_so_does_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("memscan.toml").write_text("[run]\nbatch_size = 1\n")
    Path("night.toml").write_text("[run]\nbatch_size = 5\n")
    assert options("--config", "night.toml")["batch_size"] == 5
    monkeypatch.setenv("MEMSCAN_CONFIG", "night.toml")
    assert options()["batch_size"] == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[run]\nbatchsize = 4", "'batchsize' is no option of memscan run: did you mean batch_size?"),
        ("[run]\nguidance_scale = 4", "'guidance_scale' is no option of memscan run: did you mean guidance?"),
        ("[run]\nconfig = 'x'", "'config' is no option of memscan run: "),
        ("[rum]\nbatch_size = 4", "there is no command 'rum': did you mean run?"),
        ("[run]\nbatch_size = 0", "[run] batch_size: 0 is not in the range x>=1."),
        ("[run]\nbatch_size = [4]", "[run] batch_size is a list, but the option is given once"),
        ("[run]\nbatch_size = true", "[run] batch_size is True: expected text or a number"),
        ("[run]\nimages = 1", "[run] images is 1: expected true or false"),
        ("[run]\nmodel = 'x'", "model stands above all tables, not in [run]"),
        ("modell = 'x'", "'modell' is no setting: did you mean model?"),
    ],
)
def test_what_nobody_knows_is_an_error_that_names_file_and_key(
    content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("memscan.toml").write_text(content)
    line = error("--prompt", "a city", capsys=capsys)
    assert line.startswith(f"{Path('memscan.toml').absolute()}: {message}")


def test_a_file_that_is_named_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    line = error("--prompt", "a city", "--config", "night.toml", capsys=capsys)
    assert line == "night.toml, which --config names, is not there: check the path"


def test_a_variable_that_is_nearly_an_option_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    monkeypatch.setenv("MEMSCAN_RUN_BATCHSIZE", "2")
    monkeypatch.setenv("MEMSCAN_RUN_SERVICE_HOST", "10.0.0.1")  # of Kubernetes
    assert options()["batch_size"] == 8
    assert caplog.messages == [
        "the variable MEMSCAN_RUN_BATCHSIZE is no option of memscan run: did you mean BATCH_SIZE?"
    ]


def logged(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What `memscan show` logs whose work is two notes, and whether it would show progress."""
    from memscan.scanner.commands import show

    def work(**options: Any) -> int:
        note(f"progress {somebody_listens()}, bars {bars_are_welcome()}")
        warn("look\nat this")
        return 0

    monkeypatch.setattr(show.command, "callback", work)
    capsys.readouterr()
    assert invoke(["show", "results", *arguments]) == 0
    return capsys.readouterr().err.splitlines()


def test_quiet_leaves_warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert logged(monkeypatch, capsys) == ["memscan: progress True, bars True", "memscan: look\\nat this"]
    assert logged(monkeypatch, capsys, "--quiet") == ["memscan: look\\nat this"]
    assert logged(monkeypatch, capsys) == ["memscan: progress True, bars True", "memscan: look\\nat this"]


def test_json_is_an_object_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = map(json.loads, logged(monkeypatch, capsys, "--log-format", "json"))
    assert (first["level"], first["message"]) == ("INFO", "progress True, bars False")
    assert (second["level"], second["message"]) == ("WARNING", "look\\nat this")
    assert first.keys() == {"time", "level", "message"}


def test_errors_are_objects_too(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--batch-size", "0"], "error: Invalid value for '--batch-size': 0 is not in the range x>=1."),
        (["--model", "nowhere"], "error: no bundle at nowhere"),
    ):
        capsys.readouterr()
        assert invoke(["run", "--log-format", "json", "--prompt", "a city", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert json.loads(line)["level"] == "ERROR"
        assert json.loads(line)["message"].startswith(message)

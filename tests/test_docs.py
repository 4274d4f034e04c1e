"""The documents and the program agree."""

import re
import tomllib
from pathlib import Path

import pytest

from tests import metric_reference
from tests.cli_reference import PAGE, reference
from tests.default_maps import MAPS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_command_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "docs/cli.md is out of date: run python -m tests.cli_reference"


def test_the_reference_of_metrics_is_up_to_date() -> None:
    page = metric_reference.PAGE.read_text()
    assert page == metric_reference.reference(), "docs/metrics.md is out of date: run python -m tests.metric_reference"


def test_the_maps_of_the_readme_are_those_of_the_catalogue() -> None:
    table = README.partition("| map | |\n|---|---|\n")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(MAPS)


@pytest.mark.parametrize("target", ["demo", "test", "slow", "proof", "bench"])
def test_every_make_target_for_users_is_in_the_readme(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
    assert f"make {target}" in README


def test_every_option_that_the_readme_uses_exists() -> None:
    """Options that follow `memscan COMMAND` in the README's code blocks are options of that command."""
    page = PAGE.read_text()
    sections = dict(re.findall(r"## (memscan[ \w]*)\n\n```\n(.*?)```", page, re.S))
    used = 0
    for block in re.findall(r"```[a-z]*\n(.*?)```", README, re.S):
        for command, rest in re.findall(r"memscan (\w+)([^\n]*)", block.replace("\\\n", " ")):
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest.split("#")[0]):
                used += 1
                assert option in sections[f"memscan {command}"], f"memscan {command} has no {option}"
    assert used, "the README shows no option"


def test_every_local_link_and_picture_of_the_readme_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), f"README links to {link}, which does not exist"


def test_every_map_is_explained() -> None:
    for name in MAPS:
        assert f"`{name}`" in README


def test_every_threat_has_a_test_that_exists() -> None:
    table = (ROOT / "docs" / "security.md").read_text().partition("|---|---|---|\n")[2].partition("\n\n")[0]
    for line in table.splitlines():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)
        assert named, f"no test watches over: {line}"
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"


def test_the_documents_are_one_site() -> None:
    """Every page of docs/ is in its navigation, and every local link of a page leads to something."""
    pages = {file.name for file in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r"(\w[\w-]*\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    for page in pages:
        text = (ROOT / "docs" / page).read_text()
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / "docs" / link).exists(), f"docs/{page} links to {link}, which does not exist"


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()

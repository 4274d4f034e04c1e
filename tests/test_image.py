"""The Dockerfile: what its own linter says of it, and that its targets are installed in one way."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def tool(name: str) -> str:
    """A program of the tests' own environment."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} is of the extra test"
    return found


def test_the_linters_have_nothing_to_say() -> None:
    for linter, file in (("hadolint", ROOT / "Dockerfile"), ("shellcheck", ROOT / "locks" / "install")):
        done = subprocess.run([tool(linter), str(file)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), linter


def test_every_target_installs_its_own_lock_by_the_same_script() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    installed = {name.removeprefix("installed-"): text for _, name, text in stages if name.startswith("installed-")}
    assert installed.keys() == {path.stem for path in (ROOT / "locks").glob("*.txt")} - {"build"}
    for name, text in installed.items():
        assert re.findall(r"^RUN (\S+ \S+)", text, re.M) == [f"locks/install locks/{name}.txt"]
        assert f"COPY --from=installed-{name} /opt/memscan /opt/memscan" in DOCKERFILE
    assert DOCKERFILE.count("pip install") == 1, "of the wheel's build alone"

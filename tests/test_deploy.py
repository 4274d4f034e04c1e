"""The files of deploy/, each by its ecosystem's own checker as far as it can be had without a network.

Kubernetes: the client's models, key by key. Slurm: shellcheck, and the options of sbatch. KubeRay's schema is in no
package: its pods are checked by Kubernetes' models, and what is around them by the keys of its reference. Airflow's
DagBag needs some two hundred packages: the file is compiled, and its calls are looked at.
"""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import kubernetes.client.models as models
import pytest
import yaml

from memscan.scanner.cli import cli

DEPLOY = Path(__file__).parent.parent / "deploy"
JOB, RAY_JOB = DEPLOY / "kubernetes" / "indexed-job.yaml", DEPLOY / "kuberay" / "rayjob.yaml"
ARRAY, DAG = DEPLOY / "slurm" / "array.sbatch", DEPLOY / "airflow" / "memscan_dag.py"
OPAQUE = {"str", "int", "bool", "object", "float", "datetime"}


def check_model(value: Any, kind: str, where: str = "") -> None:
    """Check a value of YAML by one of the client's types; what it does not know is refused, which its reader drops."""
    listed, mapped = re.fullmatch(r"[Ll]ist\[(.*)\]", kind), re.fullmatch(r"[Dd]ict[\[(]str, (.*)[\])]", kind)
    if listed:
        assert isinstance(value, list), where
        for index, item in enumerate(value):
            check_model(item, listed[1], f"{where}[{index}]")
    elif mapped:
        for name, item in value.items():
            check_model(item, mapped[1], f"{where}.{name}")
    elif kind in OPAQUE:
        expected = {"str": str, "int": int, "bool": bool}.get(kind, object)
        assert isinstance(value, expected), f"{where} is {value!r}, not {kind}"
    else:
        model = getattr(models, kind)
        known = {name: attribute for attribute, name in model.attribute_map.items()}
        for name, item in value.items():
            assert name in known, f"{where}.{name} is unknown to {kind}"
            check_model(item, model.openapi_types[known[name]], f"{where}.{name}")
        arguments = {known[name]: item for name, item in value.items()}
        model(**arguments)  # raises where a required one is missing, or a value is none of an enumeration


def parsed(words: list[str]) -> click.Context:
    """A command line, as far as memscan reads it before it looks at anything."""
    assert words[0] == "memscan"
    command = cli.get_command(click.Context(cli), words[1])
    assert command is not None
    return command.make_context(words[1], words[2:], resilient_parsing=False)


def test_the_checker_finds_misspelt_keys_and_wrong_types() -> None:
    with pytest.raises(AssertionError, match="completion is unknown to V1JobSpec"):
        check_model({"spec": {"completion": 8, "template": {}}}, "V1Job")
    with pytest.raises(AssertionError, match="completions is '8', not int"):
        check_model({"spec": {"completions": "8", "template": {}}}, "V1Job")


def test_indexed_job() -> None:
    job = yaml.safe_load(JOB.read_text())
    check_model(job, "V1Job")
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    context = parsed(["memscan", *container["args"]])
    shares = job["spec"]["completions"]
    assert context.params["share"] == f"auto/{shares}"
    assert job["spec"]["parallelism"] == shares
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"]["containerName"] == container["name"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never", "a failure policy demands it"


def test_ray_job() -> None:
    job = yaml.safe_load(RAY_JOB.read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    known = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"}
    assert set(spec) == known
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        check_model(group["template"], "V1PodTemplateSpec")
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert parsed(shlex.split(spec["entrypoint"])).params["ray"] == "auto"


def test_slurm_array() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, "--severity=style", str(ARRAY)], check=True, timeout=120)
    text = ARRAY.read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.M))
    assert len(options) == len(re.findall(r"^#SBATCH", text, re.M))
    known = {"job-name", "array", "ntasks", "cpus-per-task", "gres", "mem", "time", "requeue", "open-mode", "signal"}
    assert set(options) == known
    line = next(line for line in text.splitlines() if line.startswith("exec srun "))
    assert parsed(shlex.split(line)[2:]).params["share"] == "auto"
    head = text.index("#SBATCH"), text.rindex("#SBATCH")
    assert not re.search(r"^[^#\n]", text[slice(*head)], re.M), "sbatch reads no option after the first command"


def test_airflow_dag() -> None:
    tree = ast.parse(DAG.read_text())
    compile(tree, str(DAG), "exec")
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    lines = [
        keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "arguments"
    ]
    said = [eval(compile(ast.Expression(line), "dag", "eval"), dict(constants)) for line in lines]
    shares, status = (said[0], said[1]) if isinstance(said[0][0], list) else (said[1], said[0])
    assert [parsed(["memscan", *words]).params["share"] for words in shares] == [f"{n}/8" for n in range(8)]
    assert parsed(["memscan", *status]).command.name == "status"


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.*")), ids=lambda file: file.name)
def test_nothing_is_secret_or_fluid(file: Path) -> None:
    text = file.read_text()
    assert ":latest" not in text
    assert not re.search(r"(?i)(password|secret_access_key|token)\s*[:=]\s*\S", text)

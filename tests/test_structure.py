"""The plan of the house, by walking the imports: no circle, no wing that imports a higher one, no device in pure wings.

Imports within functions count too, and those for type checkers alone; a circle is one of imports that load a module.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "memscan."

# From the ground up; wings on one line may not import each other.
SCANNER = (
    ("errors", "terminal", "telemetry", "graph_names", "records", "external_data", "embedded", "user_cache", "ranged"),
    ("notes", "place", "bundle_files"),
    ("settings", "local_path", "objects"),
    ("configuration",),
    ("samples", "schedules"),
    ("bundle_parts",),
    ("bundle",),
    ("sampling",),
    ("metrics",),
    ("input", "pictures", "results"),
    ("runtimes",),
    ("process",),
    ("calibration",),
    ("model",),
    ("scanning", "health"),
    ("model_choice",),
    ("run",),
    ("fleet",),
    ("api",),
    ("evaluation", "inspection"),
    ("calibrating",),
    ("sheet",),
    ("report",),
    ("demo",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
EXPORT = (
    ("quiet", "nodes", "checkpoint"),
    ("attention",),
    ("autodiff",),
    ("passes",),
    ("graphs", "parity", "certificate"),
    ("assemble",),
)
KERNELS = (("jvp_attention",), ("torch_runtime",))
PURE = ("input", "pictures", "sampling", "metrics", "results")
DEVICE = ("memscan.scanner.runtimes", "memscan.scanner.model", "memscan.scanner.scanning", "memscan.kernels")
DEVICE_LIBRARIES = ("onnxruntime", "tensorrt", "torch", "cuda", "triton", "onnx")


@functools.cache
def modules() -> dict[str, Path]:
    """All modules of the three packages by name, e.g. "memscan.scanner.run.part"."""
    found = {}
    for package in ("scanner", "export", "kernels"):
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[PACKAGE + ".".join(part for part in parts if part != "__init__")] = file
    return found


@functools.cache
def imports(module: str) -> frozenset[str]:
    """What a module imports: our own modules by their full names, libraries by their first."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules() else node.module)
    return frozenset(name if name.startswith(PACKAGE) else name.partition(".")[0] for name in found)


def at_start(module: str) -> Iterator[str]:
    """Our own modules that are loaded with a module: not those that its functions import, nor for type checkers."""
    tree = ast.parse(modules()[module].read_text())
    tree.body = [node for node in tree.body if not isinstance(node, ast.If | ast.FunctionDef | ast.ClassDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else node.module


def wing(module: str, package: str) -> str | None:
    """The wing, or the module of the ground, that a module belongs to; None for another package's."""
    prefix = f"{PACKAGE}{package}."
    return module.removeprefix(prefix).partition(".")[0] if module.startswith(prefix) else None


def test_every_import_of_our_own_is_of_a_module_that_exists() -> None:
    for module in modules():
        for name in imports(module):
            assert not name.startswith(PACKAGE) or name in modules(), f"{module} imports {name}"


def test_no_circle() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for name in at_start(module):
                visit(name, (*way, module))
            done.add(module)

    for module in modules():
        visit(module, ())


@pytest.mark.parametrize(
    ("package", "order"),
    [("scanner", SCANNER), ("export", EXPORT), ("kernels", KERNELS)],
    ids=["scanner", "export", "kernels"],
)
def test_no_wing_imports_a_higher_one(package: str, order: tuple[tuple[str, ...], ...]) -> None:
    floor = {name: height for height, names in enumerate(order) for name in names}
    for module in modules():
        here = wing(module, package)
        if not here:
            continue
        assert here in floor, f"{module}: where in the order is the wing {here}?"
        for name in imports(module):
            there = wing(name, package)
            assert not there or there == here or floor[there] < floor[here], f"{module} imports {name}"


@pytest.mark.parametrize("pure", PURE)
def test_what_is_pure_is_free_of_any_device(pure: str) -> None:
    inside = [module for module in modules() if wing(module, "scanner") == pure]
    assert inside
    for module in inside:
        for name in imports(module):
            assert name not in DEVICE_LIBRARIES, f"{module} imports {name}"
            assert not name.startswith(DEVICE), f"{module} imports {name}"


def test_readers_of_results_never_reach_the_scan() -> None:
    for module in modules():
        if wing(module, "scanner") in ("evaluation", "sheet", "calibration", "report"):
            for name in imports(module):
                assert wing(name, "scanner") not in ("run", "scanning", "model", "runtimes"), f"{module} imports {name}"


def test_the_scanner_never_imports_the_export_but_in_its_command() -> None:
    for module in modules():
        if wing(module, "scanner") and module != "memscan.scanner.commands.export":
            assert not any(name.startswith("memscan.export") for name in imports(module)), module

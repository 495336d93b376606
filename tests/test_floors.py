"""The structure that the design asks for: imports go down, and each outside library has its floor."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mpigd_data
import mpigd_kernels
import pytest

import mpigd

ROOTS = {
    "mpigd": Path(mpigd.__file__).parent,
    "mpigd_kernels": Path(mpigd_kernels.__file__).parent,
    "mpigd_data": Path(mpigd_data.__file__).parent,
}

# From the bottom up; a module may import modules of lower floors, and of its own.
FLOORS = [
    {"mpigd_kernels", "mpigd_data", "mpigd.errors", "mpigd.options", "mpigd"},
    {
        "mpigd.replicated",
        "mpigd.sampling",
        "mpigd.penalties",
        "mpigd.null_model",
        "mpigd.files",
        "mpigd.links",
        "mpigd.progress",
        "mpigd.synthetic",
        "mpigd.watchdog",
        "mpigd.ownership",
        "mpigd.parted",
        "mpigd.platforms",
        "mpigd.launch",
        "mpigd.predictor",
        "mpigd.bootstrap",
    },
    {"mpigd.comm", "mpigd.compression", "mpigd.hdf5"},
    {"mpigd.storage", "mpigd.modelfile"},
    {"mpigd.reader", "mpigd.fingerprint", "mpigd.layout", "mpigd.serving"},
    {"mpigd.reading", "mpigd.columns", "mpigd.scratch", "mpigd.streaming"},
    {"mpigd.dataset", "mpigd.model", "mpigd.solvers", "mpigd.ranking", "mpigd.sums", "mpigd.search"},
    {"mpigd.lockstep"},
    {"mpigd.splits", "mpigd.scaling", "mpigd.objective", "mpigd.history", "mpigd.least_squares", "mpigd.metrics"},
    {"mpigd.rowwise", "mpigd.likelihood", "mpigd.covariance"},
    {"mpigd.arrays", "mpigd.balance", "mpigd.batches", "mpigd.folds", "mpigd.conformal", "mpigd.writing"},
    {"mpigd.summary"},
    {"mpigd.findings"},
    {"mpigd.fitting"},
    {"mpigd.searched"},
    {"mpigd.checkpoint"},
    {"mpigd.rundir"},
    {"mpigd.keeper", "mpigd.tracking", "mpigd.watch"},
    {"mpigd.problem", "mpigd.predict", "mpigd.curves", "mpigd.convert", "mpigd.inspect"},
    {"mpigd.exchange"},
    {"mpigd.fitted", "mpigd.importance"},
    {"mpigd.inference"},
    {"mpigd.shown"},
    {"mpigd.train", "mpigd.verify"},
    {"mpigd.explain"},
    {"mpigd.estimators"},
    {"mpigd.generate", "mpigd.crossvalidation", "mpigd.tune"},
    {"mpigd.planning"},
    {"mpigd.plan"},
    {"mpigd.demo"},
    {"mpigd.tables"},
    {"mpigd.console", "mpigd.report"},
    {"mpigd.arguments", "mpigd.cli"},
    {"mpigd.__main__"},
]

ONLY_IN = {
    "mpi4py": {"mpigd.comm"},
    "numba": {"mpigd_kernels.instructions", "mpigd_kernels.native"},
    "llvmlite": {"mpigd_kernels.instructions", "mpigd_kernels.native", "mpigd_kernels.vector"},
    "h5py": {
        "mpigd.checkpoint",
        "mpigd.links",
        "mpigd.hdf5",
        "mpigd.storage",
        "mpigd.reader",
        "mpigd.modelfile",
        "mpigd.convert",
        "mpigd.writing",
        "mpigd.generate",
    },
    "greenlet": {"mpigd.lockstep"},
    "mlflow": {"mpigd.tracking"},
    "tensorboardX": {"mpigd.tracking"},
    "xxhash": {"mpigd.replicated", "mpigd.fingerprint", "mpigd.convert"},
    "pyarrow": {"mpigd.convert", "mpigd.writing"},
    "hdf5plugin": {"mpigd.convert"},
    "sklearn": {"mpigd.estimators"},
    "cyclopts": {"mpigd.arguments"},
    "docstring_parser": {"mpigd.arguments"},
    "rich": {"mpigd.console", "mpigd.tables"},
    "matplotlib": {"mpigd.report"},
    "jinja2": {"mpigd.report"},
    "onnx": {"mpigd.exchange"},
    "skops": {"mpigd.exchange"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for name, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = [name, *path.relative_to(root).with_suffix("").parts]
            yield ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(module: str) -> int | None:
    """Index of the floor that names the module or the package it is in."""
    while module:
        for index, names in enumerate(FLOORS):
            if module in names and (module != "mpigd"):
                return index
        module = module.rpartition(".")[0]
    return None


@pytest.mark.parametrize(("module", "tree"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_go_down(module: str, tree: ast.Module) -> None:
    own = floor_of(module)
    if module == "mpigd":
        return  # what it gives is imported when it is asked for: see the last test
    if module == "mpigd_data.make":
        return  # a script that makes the shipped tables with mpigd itself
    assert own is not None, f"{module} has no floor: say where it belongs"
    for imported in imports(tree):
        other = floor_of(imported)
        assert other is None or other <= own, f"{module} imports {imported} from a higher floor"


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_library_has_its_place(library: str) -> None:
    users = {name for name, tree in modules() if any(i.split(".")[0] == library for i in imports(tree))}
    assert users
    strangers = {user for user in users if not any(user == m or user.startswith(m + ".") for m in ONLY_IN[library])}
    assert not strangers


def test_there_are_no_cycles() -> None:
    names = {name for name, _ in modules()}
    graph = {
        name: {owner for i in imports(tree) if (owner := i if i in names else i.rpartition(".")[0]) in names}
        - {name, "mpigd"}  # which itself imports nothing
        for name, tree in modules()
    }
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"a cycle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


def test_importing_mpigd_starts_nothing() -> None:
    for first, heavy in (("mpigd", ("numpy", "mpigd.errors")), ("mpigd.train", ("mpi4py.MPI", "rich", "numba"))):
        code = f"import sys, {first}; sys.exit(any(m in sys.modules for m in {heavy}))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

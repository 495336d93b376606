"""Other languages, by libmpigd: their programs compute what Python computes, and their pages show what is tested.

Python writes models, rows and what is to come of them; a program in each language (bindings/LANGUAGE/tests) reads them
and writes what it finds, as plain numbers. Then the commands of the language's page are run, and what its examples
print is compared. A language whose tools are not installed is skipped.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import library
import numpy as np
import pytest
from conftest import launcher
from library import TOP
from mpigd_kernels import LOSSES
from scipy import sparse
from test_docs import Block, blocks_of, furnish, run_bash

from mpigd.arrays import from_arrays
from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.exchange import to_json
from mpigd.model import Model
from mpigd.objective import Objective
from mpigd.penalties import penalty
from mpigd.predict import linear_predictor
from mpigd.scaling import measure

pytestmark = pytest.mark.timeout(900)  # the first one builds libmpigd, or waits until it is built
BINDINGS, PAGES = TOP / "bindings", TOP / "docs/bindings"
RTOL = 1e-12
HOME = os.environ.get("MPIGD_HOME")  # a library with all kernels; without, one is made that has some

# What programs write of each case.
PREDICTIONS = ("eta", "predict", "proba")
DERIVATIVES = ("value", "gradient", "product")
PROBLEM = ("problem_value", "problem_gradient", "problem_product")
SPARSE = ("eta_sparse", "predict_sparse", "proba_sparse", "gradient_sparse")
# Of these Python takes another way; all others have the bits of its kernels.
ROUNDED = ("predict", "proba", "predict_sparse", "proba_sparse", "predict_named", "product")
WRITTEN = {
    "cpp": (*PREDICTIONS, *DERIVATIVES, *PROBLEM, *SPARSE, "eta_float32", "eta_copy"),
    "fortran": (*PREDICTIONS, *DERIVATIVES, *PROBLEM, *SPARSE, "eta_float32", "eta_sparse_float32", "eta_copy"),
    "java": (*PREDICTIONS, *DERIVATIVES, *SPARSE, "eta_float32", "eta_direct", "eta_copy"),
    "r": (*PREDICTIONS, *DERIVATIVES, *SPARSE, "predict_named", "eta_copy"),
    "javascript": (*PREDICTIONS, "predict_named"),
    "rust": (*PREDICTIONS, *DERIVATIVES, *SPARSE, "eta_float32", "eta_sparse_float32"),
}


@dataclass(frozen=True)
class Case:
    """A model and rows in a folder, and what is to come of them."""

    folder: Path
    model: Model
    expected: dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How a case is made. given : parameter and smoothing of the loss; zeros for its defaults."""

    loss: str
    rows: int = 203
    columns: int = 5
    outputs: int = 1
    given: tuple[float, float] = (0.0, 0.0)
    labels: tuple[float, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def derived(self) -> bool:
        """Whether the library computes with its loss: not with several outputs that do not depend on each other."""
        return (self.outputs == 1 or LOSSES[self.loss].coupled) and bool(HOME or self.loss in library.LOSSES)


RECIPES = {
    "squared": Recipe("squared"),
    "huber": Recipe("huber", given=(0.7, 0.0)),
    "quantile": Recipe("quantile", given=(0.3, 0.25)),
    "poisson": Recipe("poisson"),
    "tweedie": Recipe("tweedie", given=(1.3, 0.0)),
    "logistic": Recipe("logistic", 4100, 3, labels=(1.0, 2.0)),
    "threshold": Recipe("logistic", labels=(0.0, 1.0), result={"threshold": 0.7}),
    "probit": Recipe("probit", labels=(-1.0, 1.0)),
    "cloglog": Recipe("cloglog", labels=(0.0, 1.0)),
    "squared-hinge": Recipe("squared-hinge", labels=(0.0, 1.0)),
    "softmax": Recipe("softmax", outputs=3, labels=(1.0, 2.0, 5.0)),
    "pairs": Recipe("poisson", outputs=2),
}
SIDES = Recipe("squared-hinge", outputs=3, labels=(0.0, 1.0, 2.0))  # a loss that can't be named for three classes


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return [make_case(tmp_path_factory.mktemp(name), recipe) for name, recipe in RECIPES.items()]


def make_case(folder: Path, recipe: Recipe) -> Case:
    rng = np.random.default_rng(len(recipe.loss))
    loss, n, d = LOSSES[recipe.loss], recipe.rows, recipe.columns
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.6)
    coef, intercept = rng.standard_normal((d, recipe.outputs)), rng.standard_normal(recipe.outputs)
    y = {"real": rng.standard_normal(n), "binary": 1.0 * (rng.random(n) < 0.4), "classes": np.arange(n) % 3.0}
    y["nonnegative"] = np.floor(4.0 * rng.random(n))
    beside = {"y": y[loss.target], "weight": rng.integers(0, 4, n) / 2.0, "offset": rng.standard_normal(n) / 8.0}
    direction = rng.standard_normal((d + 1, recipe.outputs))
    stored = sparse.csr_matrix(X)

    model = Model(
        coef if recipe.outputs > 1 else coef[:, 0],
        intercept if recipe.outputs > 1 else intercept[0],
        loss,
        tuple(f"column {j}" for j in range(d)),
        np.array(recipe.labels),
        config={"loss_parameter": recipe.given[0]} if loss.parameter else {},
        result=recipe.result,
    )
    model.save(folder / "model.h5")
    (folder / "model.json").write_text(to_json(model), encoding="utf-8")
    inputs = {"X": X, "arguments": np.linspace(-6, 26, 99)}
    if HOME:
        inputs["single"] = X.astype(np.float32)
    if recipe.derived:
        inputs |= {**beside, "direction": direction, "numbers": recipe.given}
    inputs |= {"starts": stored.indptr.astype(np.int64), "places": stored.indices.astype(np.int32)}
    for name, values in {**inputs, "values": stored.data}.items():
        np.asarray(values).tofile(folder / name)
    return Case(folder, model, expected_of(model, recipe, X, beside, direction))


def expected_of(
    model: Model, recipe: Recipe, X: np.ndarray, beside: dict[str, np.ndarray], direction: np.ndarray
) -> dict[str, np.ndarray]:
    comm = Comm.world()

    found = {"predict": model.predict(X)}
    ways = {"eta": X, "eta_sparse": sparse.csr_matrix(X)}
    if HOME:
        single = X.astype(np.float32)
        ways |= {"eta_float32": single, "eta_sparse_float32": sparse.csr_matrix(single)}
    for name, rows in ways.items():
        found[name] = linear_predictor(comm, model, from_arrays(comm, rows))
    if model.has_probabilities:
        found["proba"] = model.predict_proba(X)

    if not recipe.derived:
        return found | as_well(found)

    def objective(values: Any, centre: bool) -> Objective:
        y, weight, offset = beside["y"], beside["weight"], beside["offset"]
        data = from_arrays(comm, values, y, weight, offset, target=model.loss.target)
        scaling = measure(comm, data, centre=centre, standardize=False)
        free = penalty(0.0, 0.0, scaling.scale, direction.shape[1], intercept=True)
        parameter, smoothing = recipe.given[0] or model.parameter, recipe.given[1] or 0.1
        return Objective(comm, data, model.loss, scaling, free, loss_parameter=parameter, smoothing=smoothing)

    theta = np.vstack([model.columns()[0], model.columns()[1]])
    for prefix, centre in (("", False), ("problem_", True)):
        of = objective(X, centre)
        value, found[f"{prefix}gradient"] = of.value_and_gradient(theta)
        found[f"{prefix}value"] = np.array([value])
        found[f"{prefix}product"] = of.hessian_product(theta, direction)
    found["value"] = np.append(found["value"], math.fsum(beside["weight"]))
    found["gradient_sparse"] = objective(sparse.csr_matrix(X), False).value_and_gradient(theta)[1]
    return found | as_well(found)


def as_well(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is the same by another way."""
    also = {"eta_direct": "eta", "predict_named": "predict"} | ({"eta_copy": "eta"} if "gradient" in found else {})
    also |= {"predict_sparse": "predict", "proba_sparse": "proba"}
    return {name: found[of] for name, of in also.items() if of in found}


def check(language: str, cases: list[Case]) -> None:
    """Compare what a program of this language has written in the folders of cases."""
    for case in cases:
        for name in set(WRITTEN[language]) & set(case.expected):
            compare(case, language, name, RTOL if name in ROUNDED or language == "javascript" else 0.0)
        if language != "javascript":
            copy = Model.load(case.folder / f"{language}.copy.h5")
            assert (copy.fingerprint, copy.loss.name) == (case.model.fingerprint, case.model.loss.name)
            assert copy.feature_names == case.model.feature_names
            assert copy.threshold == case.model.threshold
        status, message = (case.folder / f"{language}.error").read_text(encoding="utf-8").split(" ", 1)
        assert int(status) == DataError.exit_status
        assert "row 1 " in message


def compare(case: Case, language: str, name: str, rtol: float) -> None:
    found, expected = np.fromfile(case.folder / f"{language}.{name}"), case.expected[name].ravel()
    what = f"{name} of {case.folder.name} in {language}"
    if rtol:
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=what)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=what)


@dataclass(frozen=True)
class Place:
    """Where the commands of pages are run, and the environment they find."""

    folder: Path
    environment: dict[str, str]

    def run(self, page: str, blocks: slice = slice(None)) -> list[str]:
        """What the commands of a page, or of some of its blocks, print."""
        return [run_bash(block, self.folder, self.environment) for block in commands_of(page)[blocks]]

    def do(self, *command: str | Path, **variables: str) -> None:
        """Run a program that may not fail."""
        environment = {**self.environment, **variables}
        done = subprocess.run(list(map(str, command)), cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def linked(self) -> tuple[str, ...]:
        """Options of a linker that finds libmpigd."""
        home = self.environment["MPIGD_HOME"]
        return (f"-L{home}/lib", f"-Wl,-rpath,{home}/lib", "-lmpigd")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """With the model that pages use, but without libmpigd."""
    folder = tmp_path_factory.mktemp("pages") / "here"
    environment = furnish(folder, folder.parent / "bin")
    shutil.copytree(BINDINGS, folder / "bindings")
    begun = Place(folder, environment)
    begun.run("index")
    return begun


@pytest.fixture(scope="module")
def home(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same, with libmpigd."""
    installed = HOME or str(library.build(tmp_path_factory).with_name("home"))
    return replace(place, environment={**place.environment, "MPIGD_HOME": installed})


def commands_of(page: str) -> list[Block]:
    return [block for block in blocks_of(PAGES / f"{page}.md") if block.language == "bash"]


def needs(*programs: str) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


def table() -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(TOP / "data" / "text" / "boston.csv", delimiter=",", skiprows=1)
    return rows[:, :-1], rows[:, -1]


def check_predictions(place: Place, said: str) -> None:
    expected = Model.load(place.folder / "run" / "model.h5").predict(table()[0])
    np.testing.assert_allclose(np.array(said.split(), np.float64), expected, rtol=RTOL)


def check_fit(place: Place, said: str, written: str) -> None:
    """What is printed is the best fit, and is what is written, with the bits of the program's own fit."""
    X, y = table()
    best = np.linalg.lstsq(np.column_stack([X, np.ones(len(y))]), y, rcond=None)[0]
    objective, *coefficients = said.strip().splitlines()
    found = np.array([float(number) for number in coefficients])
    np.testing.assert_allclose(found, best, rtol=1e-9)
    residuals = X @ best[:-1] + best[-1] - y
    assert float(objective.split()[1]) == pytest.approx(0.5 * np.mean(residuals * residuals), rel=1e-12)
    model = Model.load(place.folder / written)
    np.testing.assert_array_equal(np.append(model.coef, model.intercept), found)
    assert model.fingerprint == Model.load(place.folder / "run" / "model.h5").fingerprint


def test_cpp(home: Place, cases: list[Case]) -> None:
    needs("g++")
    strict = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-Ibindings/cpp")
    include = f"-isystem{home.environment['MPIGD_HOME']}/include"
    home.do("g++", *strict, include, "bindings/cpp/tests/vectors.cpp", "-o", "vectors_cpp", *home.linked)
    home.do("./vectors_cpp", *(case.folder for case in cases))
    check("cpp", cases)
    check_predictions(home, *home.run("cpp", slice(1)))


def test_cpp_on_ranks(home: Place, tmp_path: Path) -> None:
    (fitted,) = with_mpi(home, Path(launcher()).with_name("mpicxx"), tmp_path).run("cpp", slice(1, 2))
    check_fit(home, fitted, "cpp.h5")


def with_mpi(home: Place, compiler: Path, folder: Path) -> Place:
    """With the MPI that a compiler belongs to, and libmpigd_mpi for it: machines may have several."""
    launchers = [compiler.with_name(name) for name in ("mpirun", "mpirun.openmpi", "mpirun.mpich")]
    launchers = [program for program in launchers if program.exists()]
    if not launchers or not compiler.exists() or not compiler.with_name("mpicc").exists():
        pytest.skip(f"needs {compiler}, with mpicc and mpirun beside it")
    installed, own = Path(home.environment["MPIGD_HOME"]), folder / "home"
    shutil.copytree(installed, own, symlinks=True, ignore=shutil.ignore_patterns("libmpigd_mpi*", "*.a"))
    options = ("-shared", "-fPIC", f"-I{own}/include", TOP / "libmpigd/src/mpi.c", *home.linked)
    home.do(compiler.with_name("mpicc"), *options, "-o", own / "lib/libmpigd_mpi.so")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "mpirun").symlink_to(launchers[0])
    (programs / compiler.name).symlink_to(compiler)
    path = f"{programs}:{home.environment['PATH']}"
    return replace(home, environment={**home.environment, "MPIGD_HOME": str(own), "PATH": path})


def test_fortran(home: Place, cases: list[Case]) -> None:
    needs("gfortran")
    sources = [f"bindings/fortran/{name}.f90" for name in ("mpigd_c", "mpigd", "tests/vectors")]
    home.do("gfortran", "-std=f2008", "-O2", "-fcheck=all", *sources, "-o", "vectors_fortran", *home.linked)
    home.do("./vectors_fortran", *(case.folder for case in cases))
    check("fortran", cases)
    check_predictions(home, *home.run("fortran", slice(1)))


def test_fortran_on_ranks(home: Place, tmp_path: Path) -> None:
    needs("mpifort")
    compiler = Path(shutil.which("mpifort") or "")
    (tmp_path / "f08.f90").write_text("use mpi_f08\nend\n")
    if subprocess.run([compiler, "-c", "f08.f90"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip(f"needs mpi_f08, which {compiler} has not")
    (fitted,) = with_mpi(home, compiler, tmp_path).run("fortran", slice(1, 2))
    check_fit(home, fitted, "fortran.h5")


def test_java(home: Place, cases: list[Case]) -> None:
    needs("javac", "java", "gcc")
    predicted, fitted = home.run("java")
    check_predictions(home, predicted)
    check_fit(home, fitted, "java.h5")
    home.do("javac", "-cp", "java", "-d", "java", "bindings/java/tests/Vectors.java")
    options = ("-Xcheck:jni", "-cp", "java", "-Djava.library.path=java")
    home.do("java", *options, "Vectors", *(case.folder for case in cases))
    check("java", cases)


def test_r(home: Place, cases: list[Case]) -> None:
    needs("R", "Rscript", "gcc")
    _, predicted, fitted = home.run("r")
    check_predictions(home, predicted)
    check_fit(home, fitted, "r.h5")
    home.do("Rscript", "bindings/r/tests/vectors.R", *(case.folder for case in cases), R_LIBS="r")
    check("r", cases)


def test_javascript(place: Place, cases: list[Case], tmp_path: Path) -> None:
    needs("node")
    cases = [*cases, make_case(tmp_path, SIDES)]
    _, predicted = place.run("javascript")
    check_predictions(place, predicted)
    place.do("node", BINDINGS / "js/tests/vectors.js", *(case.folder for case in cases))
    check("javascript", cases)
    found = np.fromfile(cases[0].folder / "javascript.erfc")
    arguments = np.fromfile(cases[0].folder / "arguments")
    np.testing.assert_allclose(found, [math.erfc(x) for x in arguments], rtol=RTOL)


def test_rust(home: Place, cases: list[Case]) -> None:
    needs("cargo")
    check_predictions(home, *home.run("rust"))
    run = ("cargo", "run", "--quiet", "--manifest-path", "bindings/rust/Cargo.toml", "--example", "vectors")
    home.do(*run, *(case.folder for case in cases), CARGO_TARGET_DIR=str(home.folder / "rust"))
    check("rust", cases)


def test_julia(home: Place) -> None:
    needs("julia")
    check_predictions(home, *home.run("julia"))


def test_pages_show_what_is_tested() -> None:
    """All code but commands is that of a file under bindings, to the letter."""
    files = {path.read_text(encoding="utf-8") for path in BINDINGS.rglob("*.*") if path.is_file()}
    languages = {"cpp", "fortran", "java", "r", "js", "rust", "julia"}
    shown = [block for page in PAGES.glob("*.md") for block in blocks_of(page) if block.language != "bash"]
    assert {block.language for block in shown} == languages
    assert [block.place for block in shown if block.text not in files] == []

"""What is built and installed, and the recipes for it: pyproject.toml is what all of them have to agree with."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import types
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import mpirun
from mpigd_data import path_of
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mpigd

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "packaging"
FOLDERS = {"mpigd": "mpigd", "kernels": "mpigd_kernels", "data": "mpigd_data"}  # of the sources, and as packages
SHIPPED = (".py", ".typed", ".j2", ".json", ".h5")
NOT_SOURCES = ("benchmarks/", ".")  # measurements, and what belongs to the repository

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION: str = PROJECT["project"]["version"]


def lowest(requirements: list[str]) -> dict[str, str]:
    """The lowest version of each package; those of one system only are left out."""
    found = {}
    for requirement in map(Requirement, requirements):
        if requirement.marker is None:
            (limit,) = requirement.specifier
            assert limit.operator == ">="
            found[canonicalize_name(requirement.name)] = limit.version
    return found


EXTRA_OF_KERNELS = f"mpigd-kernels-aot=={VERSION}; sys_platform == 'linux'"  # of the same version
NEEDED = lowest(PROJECT["project"]["dependencies"])
EXTRAS = {name: lowest(needed) for name, needed in PROJECT["project"]["optional-dependencies"].items()}


# ---- what is built ----


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The archive of sources, and the wheel made from that."""
    top = tmp_path_factory.mktemp("built")
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "runs", "site", "benchmarks")
    shutil.copytree(ROOT, top / "source", ignore=ignored)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(top), str(top / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all directories are treated like packages" not in done.stdout + done.stderr
    return next(top.glob("*.tar.gz")), next(top.glob("*.whl"))


def test_the_wheel_has_every_module_and_its_data_and_no_more(built: tuple[Path, Path]) -> None:
    assert built[1].name == f"mpigd-{VERSION}-py3-none-any.whl"  # kernels are compiled where they run
    with zipfile.ZipFile(built[1]) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = {name.split("/", 1)[1] for name in wheel.namelist() if ".dist-info/" in name}
    wanted = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SHIPPED or path.name == "py.typed"
    }
    assert inside == wanted
    assert {"licenses/LICENSE", "entry_points.txt", "METADATA"} <= about


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="there is no repository")
def test_the_archive_of_sources_has_all_of_the_repository(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.splitlines() if not name.startswith(NOT_SOURCES) and (ROOT / name).exists()}
    assert tracked - inside == set()


def test_what_is_installed_runs_outside_of_the_sources(built: tuple[Path, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    (packages,) = (tmp_path / "env").rglob("site-packages")
    (python,) = (tmp_path / "env").glob("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # What it needs is taken from here, without mpigd: an editable one is not found through a path alone.
    needed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "needed.pth").write_text("\n".join(needed), encoding="utf-8")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(built[1])], check=True)
    script = next(python.parent.glob("mpigd*"))

    said = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.strip() == VERSION
    where = [str(python), "-c", "import mpigd, mpigd_data, mpigd_kernels as k; print(mpigd.__file__, k.__file__)"]
    for file in subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split():
        assert Path(file).is_relative_to(packages)
    fits = []
    for ranks in (1, 2):
        run = ("train", path_of("boston"), "--l2", 0.1, "--json", "--run-dir", tmp_path / f"run{ranks}")
        fits.append(mpirun(*run, ranks=ranks, python=python, cwd=tmp_path).json())
    assert [fit["ranks"] for fit in fits] == [1, 2]
    assert fits[0]["model_fingerprint"] == fits[1]["model_fingerprint"]


# ---- the recipes ----


def test_the_version_is_the_same_everywhere() -> None:
    assert mpigd.__version__ == VERSION
    kernels = tomllib.loads((RECIPES / "kernels/pyproject.toml").read_text(encoding="utf-8"))
    assert kernels["project"]["version"] == VERSION
    assert EXTRA_OF_KERNELS in PROJECT["project"]["optional-dependencies"]["aot"]
    needed = lowest([one for one in kernels["build-system"]["requires"] if not one.startswith("scikit-build-core")])
    assert needed == {name: NEEDED[name] for name in needed}
    places = {
        "apptainer.def": rf"^ +VERSION={re.escape(VERSION)}$",
        f"modulefiles/mpigd/{VERSION}": rf"^set prefix /opt/mpigd/{re.escape(VERSION)}$",
        f"modulefiles/mpigd/{VERSION}.lua": rf'^local prefix = "/opt/mpigd/{re.escape(VERSION)}"$',
    }
    for name, line in places.items():
        text = (RECIPES / name).read_text(encoding="utf-8")
        assert re.search(line, text, re.MULTILINE), name
        others = set(re.findall(r"mpigd[ /](\d+\.\d+\.\d+)", text)) - {VERSION}
        assert not others, name
    assert len(list((RECIPES / "modulefiles/mpigd").iterdir())) == 2


def test_the_recipe_of_conda_agrees() -> None:
    recipe = yaml.safe_load((RECIPES / "conda/recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == VERSION
    limits = dict(each.split(" >=") for each in recipe["requirements"]["run"])
    assert limits.pop("python") == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert {canonicalize_name(name.removeprefix("python-")): limit for name, limit in limits.items()} == NEEDED
    host = dict(each.split(" >=") for each in recipe["requirements"]["host"] if " " in each)
    assert host == {"python": "3.10", **lowest(PROJECT["build-system"]["requires"])}
    assert recipe["build"]["python"]["entry_points"] == [
        f"{name} = {place}" for name, place in PROJECT["project"]["scripts"].items()
    ]
    assert recipe["about"]["license"] == PROJECT["project"]["license"]


class SpackRecipe:
    """What a recipe of Spack calls, which notes what it was told."""

    def __init__(self) -> None:
        self.needed: dict[str, dict[str, tuple[str, object]]] = {}
        self.versions: list[str] = []
        self.variants: set[str] = set()
        self._type: object = None
        self._when = ""

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        self._when = condition.removeprefix("+")
        yield
        self._when = ""

    @contextmanager
    def default_args(self, type: object) -> Iterator[None]:  # noqa: A002
        self._type = type
        yield
        self._type = None

    def depends_on(self, spec: str, type: object = None) -> None:  # noqa: A002
        name, limit = re.fullmatch(r"(?:py-)?(\S+)@(\S+):", spec).groups()  # type: ignore[union-attr]
        self.needed.setdefault(self._when, {})[name] = (limit, type or self._type)

    def names(self) -> dict[str, Any]:
        given = {
            "version": lambda version: self.versions.append(version),
            "variant": lambda name, default, description: self.variants.add(name),
            "license": lambda name: None,
        }
        return {**given, **{name: getattr(self, name) for name in ("when", "default_args", "depends_on")}}


def test_the_recipe_of_spack_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = SpackRecipe()
    builder = "spack_repo.builtin.build_systems.python"
    parts = builder.split(".")
    for name in ("spack", "spack.package", *(".".join(parts[: k + 1]) for k in range(len(parts)))):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    vars(sys.modules["spack.package"]).update(recipe.names())
    vars(sys.modules[builder])["PythonPackage"] = type("PythonPackage", (), {})
    made = runpy.run_path(str(RECIPES / "spack/packages/py_mpigd/package.py"))["PyMpigd"]

    assert recipe.versions == [VERSION]
    needed = recipe.needed.pop("")
    assert needed.pop("python") == (PROJECT["project"]["requires-python"].removeprefix(">="), ("build", "run"))
    assert needed.pop("setuptools") == (lowest(PROJECT["build-system"]["requires"])["setuptools"], "build")
    assert needed == {name: (limit, ("build", "run")) for name, limit in NEEDED.items()}
    assert recipe.variants == set(recipe.needed)
    for extra, packages in recipe.needed.items():
        assert packages == {name: (limit, ("build", "run")) for name, limit in EXTRAS[extra].items()}
    assert set(made.import_modules) == set(FOLDERS.values())


def test_containers_take_extras_that_are_there_and_all_sources() -> None:
    docker, apptainer = ((RECIPES / name).read_text(encoding="utf-8") for name in ("Dockerfile", "apptainer.def"))
    chosen = re.findall(r"ARG EXTRAS=(\S+)", docker) + re.findall(r"/source\[([\w,]+)\]", apptainer)
    assert len(chosen) == 2
    assert chosen[0] == chosen[1]
    assert set(chosen[0].split(",")) <= set(EXTRAS)
    taken = set(re.findall(r"^ +(\S+) /source/\1$", apptainer, re.MULTILINE))
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert taken == set(re.findall(r"^!(\S+)$", ignored, re.MULTILINE))
    assert taken == {"LICENSE", "README.md", "pyproject.toml", "setup.py", *FOLDERS}


# Commands of module files, which print what they are told.
LUA = """
for _, name in ipairs({"help", "whatis", "depends_on", "conflict", "prepend_path", "setenv"}) do
    _G[name] = function(...) print(table.concat({name, ...}, " ")) end
end
function pathJoin(a, b) return a .. "/" .. b end
dofile(arg[1])
"""
TCL = """
foreach name {module module-whatis conflict prepend-path setenv} {
    proc $name args "puts \\[string map {- _} {$name}\\]\\\\ \\[join \\$args\\]"
}
source [lindex $argv 0]
ModulesHelp
"""
SET = {"OMP_NUM_THREADS 1", "OPENBLAS_NUM_THREADS 1", "PYTHONDONTWRITEBYTECODE 1"}


@pytest.mark.parametrize(
    ("interpreter", "program", "suffix"), [("lua", LUA, ".lua"), ("tclsh", TCL, "")], ids=["Lmod", "Modules"]
)
def test_module_files_set_what_they_say(interpreter: str, program: str, suffix: str, tmp_path: Path) -> None:
    if shutil.which(interpreter) is None:
        pytest.skip(f"there is no {interpreter}")
    (tmp_path / "program").write_text(program, encoding="utf-8")
    file = RECIPES / "modulefiles/mpigd" / f"{VERSION}{suffix}"
    command = [interpreter, str(tmp_path / "program"), str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {line.removeprefix("setenv ") for line in said if line.startswith("setenv ")} == SET
    assert f"prepend_path PATH /opt/mpigd/{VERSION}/bin" in said
    assert ("depends_on openmpi" if suffix else "module load openmpi") in said
    assert "conflict mpigd" in said

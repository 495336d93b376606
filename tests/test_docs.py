"""Every block of code in the documentation is run, and prints what the page says it prints.

The blocks of a page run in order in a fresh folder, in which are `data` with the tables that ship and `run.sh`. What
can't be run, or compared, says so in a comment before it, with a reason of a short list. Pages in other languages name
the test that runs theirs, as in `<!-- run by tests/test_docs.py -->`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpigd_data
import pytest
from conftest import launcher
from markdown_it import MarkdownIt

from mpigd import errors

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
REASONS = {"needs SLURM", "installs mpigd", "runs all tests"}
MOST_NOT_RUN, MOST_NOT_COMPARED = 8, 8
# Pages whose commands run on two ranks; on others one gives the same, sooner.
ON_RANKS = ("docs/failures.md", "docs/reproducibility.md", "docs/tuning.md", "docs/tutorial.md")
pytestmark = pytest.mark.timeout(600)  # whoever comes first compiles kernels
# Numbers in lines with these words are those of a machine, or of a moment.
OF_A_MOMENT = re.compile(r"second|\d s\b|megabyte|rank|ingerprint|host|[0-9a-f]{32}|\d{8}-\d{6}|passes/s")


@dataclass(frozen=True)
class Block:
    """A block of code of a page: where it stands, what it is, and the output that follows it."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str = ""
    output: str = ""
    not_compared: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(TOP)}, line {self.line}"


def blocks_of(page: Path) -> list[Block]:
    found: list[dict[str, Any]] = []
    remark: dict[str, str] = {}
    follows = False  # whether a block of code is what was last
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else 0
        assert token.type != "code_block", f"{page.relative_to(TOP)}, line {line}: fence it, so that it is run"
        if token.type == "html_block":
            comment = re.search(r"<!-- (not run|not compared): (.*) -->", token.content)
            remark = {comment[1].replace(" ", "_"): comment[2]} if comment else {}
        elif token.type == "fence":
            if token.info == "text" and follows:
                found[-1] |= {"output": token.content} | remark
            else:
                found.append({"line": line, "language": token.info, "text": token.content} | remark)
            follows, remark = token.info != "text", {}
        else:
            follows = False
    return [Block(page, **block) for block in found]


def run_by(page: Path) -> str:
    """The test that runs a page instead of this one; empty where there is none."""
    found = re.search(r"^<!-- run by (tests/test_\w+\.py) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


ALL = [block for page in PAGES if not run_by(page) for block in blocks_of(page)]


@pytest.mark.skipif(sys.platform == "win32", reason="pages are written for a POSIX shell")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in ALL if block.page == page and block.language != "text" and not block.not_run]
    if not blocks:
        return
    folder = tmp_path / "here"
    environment = furnish(folder, tmp_path / "bin", 2 if str(page.relative_to(TOP)) in ON_RANKS else 1)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        said = run_python(block, names) if block.language == "python" else run_bash(block, folder, environment)
        if not block.not_compared:
            assert_said(block, said)


def test_what_is_not_run_or_compared_has_a_reason() -> None:
    assert {block.language for block in ALL} <= {"bash", "python", "text"}
    not_run = [block.not_run for block in ALL if block.not_run]
    assert set(not_run) <= REASONS
    assert len(not_run) <= MOST_NOT_RUN
    assert len([block for block in ALL if block.not_compared]) <= MOST_NOT_COMPARED


def furnish(folder: Path, programs: Path, most_ranks: int = 1) -> dict[str, str]:
    """Make a folder as the pages find it, and return the environment of their commands.

    most_ranks : of a job, whatever the command says.
    """
    (folder / "data").mkdir(parents=True)
    for table in Path(mpigd_data.__file__).parent.glob("*.h5"):
        shutil.copy(table, folder / "data")
    shutil.copytree(TOP / "data" / "text", folder / "data" / "text")
    programs.mkdir()
    few = f'[ "$1" = -n ] && [ "$2" -gt {most_ranks} ] && set -- -n {most_ranks} "${{@:3}}"'
    alone = '[ "$1 $2" = "-n 1" ] && exec "${@:3}"'
    write_program(programs / "mpirun", f'{few}\n{alone}\nexec {shlex.quote(launcher())} "$@"')
    write_program(programs / "mpigd", 'exec python -m mpigd "$@"')
    write_program(programs / "python", f'exec {shlex.quote(sys.executable)} "$@"')
    start = 'case $3 in --python) set -- "$1" "$2" "${@:4}" ;; *) set -- "$1" "$2" -m mpigd "${@:3}" ;; esac'
    write_program(folder / "run.sh", f'[ $1 = -n ] || set -- -n 8 "$@"\n{start}\nexec mpirun -n $2 python "${{@:3}}"')
    # A process inside MPI can't start another job: the launcher's variables have to go.
    own = ("PMIX_", "OMPI_COMM", "PRTE_LAUNCHED")
    return {k: v for k, v in os.environ.items() if not k.startswith(own)} | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "COLUMNS": "100",  # what pages show is as wide, whatever the terminal
    }


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def run_bash(block: Block, folder: Path, environment: dict[str, str]) -> str:
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{block.place}:\n{done.stdout}{done.stderr}"
    return done.stdout


def run_python(block: Block, names: dict[str, Any]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile("\n" * block.line + block.text, str(block.page), "exec"), names)
    return said.getvalue()


def assert_said(block: Block, said: str) -> None:
    """Check that the lines of the output that the page shows come in what was said, in this order."""
    left = iter(list(map(bare, said.splitlines())))
    for line in map(bare, block.output.splitlines()):
        assert line in ("", "…") or line in left, f"{block.place}: {line!r} is not what follows in\n{said}"


def bare(line: str) -> str:
    """A line without what differs from run to run, and without its spaces."""
    if OF_A_MOMENT.search(line):
        line = re.sub(r"[0-9a-f]{32}|[0-9][0-9.,e+-]*", "#", line)
    return " ".join(line.split())


@pytest.mark.parametrize("page", [page for page in PAGES if run_by(page)], ids=lambda page: page.name)
def test_a_page_that_another_test_runs_is_known_to_it(page: Path) -> None:
    assert str(page.parent.relative_to(TOP)) in (TOP / run_by(page)).read_text(encoding="utf-8")


def test_what_a_run_writes_and_returns_is_all_on_the_page() -> None:
    page = (TOP / "docs/reference/runs.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MpigdError)]
    assert all(f"| {kind.exit_status} |" in page for kind in kinds)
    sources = [*(TOP / "mpigd").rglob("*.py"), *(TOP / "kernels").rglob("*.py"), TOP / "run.sh"]
    texts = [source.read_text(encoding="utf-8") for source in sources]
    variables = {name for text in texts for name in re.findall(r"\bMPIGD_[A-Z]+(?:_[A-Z]+)*\b(?![=_])", text)}
    assert variables
    assert {name for name in variables if f"`{name}`" not in page} == set()

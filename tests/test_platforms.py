"""What differs between systems: each way is gone here, on this system, by pretending to be on another."""

from __future__ import annotations

import ast
import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mpigd
from mpigd import files, platforms

# By system: what modules of Python lack there, as far as mpigd might use it.
LACKING: dict[str, set[str]] = {
    "linux": set(),
    "darwin": {"sched_getaffinity", "sched_setaffinity", "posix_fadvise"},
}
LACKING["win32"] = LACKING["darwin"] | {"pread", "preadv", "pwrite", "killpg", "sysconf", "alarm", "SIGALRM", "SIGKILL"}


def pretend(monkeypatch: pytest.MonkeyPatch, system: str, **functions: object) -> None:
    """Have mpigd.platforms, and nobody else, take this for another system.

    functions : what takes the place of functions of Python's modules there.
    """
    for module in (os, signal, sys, time):
        known = {key: value for key, value in vars(module).items() if key not in LACKING[system]}
        changed = {key: value for key, value in functions.items() if key in known}
        there = SimpleNamespace(**{**known, **changed, "platform": system})
        monkeypatch.setattr(platforms, module.__name__, there)
    if system == "darwin":
        fcntl = functions.get("fcntl", lambda descriptor, what: None)
        monkeypatch.setattr(platforms, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=fcntl))


@pytest.fixture(params=list(LACKING))
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a system that mpigd takes this one for."""
    pretend(monkeypatch, request.param)
    return str(request.param)


def test_bytes_are_written_and_read_at_their_place(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "MOST_AT_ONCE", 1000)
    numbers = np.random.default_rng(1).integers(0, 256, 5000).astype(np.uint8)  # ends of lines among them
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(6000))
    descriptor = platforms.open_bytes(path, os.O_RDWR)
    try:
        platforms.will_read(descriptor, 0, 6000)
        files.write_at(descriptor, 700, numbers)
        platforms.flush(descriptor)
        back = np.empty(5000, np.uint8)
        files.read_at(descriptor, 700, back)
        with pytest.raises(OSError, match="ends 700 bytes too early"):
            files.read_at(descriptor, 1700, np.empty(5000, np.uint8))
    finally:
        os.close(descriptor)
    assert path.read_bytes() == bytes(700) + numbers.tobytes() + bytes(300)
    assert back.tobytes() == numbers.tobytes()


def test_files_are_written_whole(system: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("old", "new"):
        with files.written_whole(path) as temporary:
            temporary.write_text(content, encoding="ascii")
    assert path.read_text(encoding="ascii") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_flush_or_else_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fully: list[int] = []
    plainly: list[int] = []

    def refused(descriptor: int, what: int) -> None:
        raise OSError(errno.ENOTTY, "not here")

    with (tmp_path / "some").open("wb") as file:
        pretend(monkeypatch, "darwin", fcntl=lambda descriptor, what: fully.append(what), fsync=plainly.append)
        platforms.flush(file.fileno())
        assert (fully, plainly) == ([51], [])
        pretend(monkeypatch, "darwin", fcntl=refused, fsync=plainly.append)
        platforms.flush(file.fileno())
        assert plainly == [file.fileno()]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_directory_that_can_not_be_flushed(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    pretend(monkeypatch, "linux", fsync=refused)
    if number == errno.EINVAL:  # the file system can't
        platforms.flush_directory(tmp_path)
    else:  # the disk can't
        with pytest.raises(OSError, match="output error"):
            platforms.flush_directory(tmp_path)


@pytest.mark.parametrize("times", [3, 99])
def test_a_name_is_given_when_a_reader_has_left(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [times]

    def held(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(errno.EACCES, "in use")
        os.replace(source, target)

    (tmp_path / "a").touch()
    pretend(monkeypatch, "win32", replace=held, sleep=lambda seconds: None)
    if times > len(platforms.PAUSES):
        with pytest.raises(PermissionError):
            platforms.rename(tmp_path / "a", tmp_path / "b")
    else:
        platforms.rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").exists() == (times < 9)


def test_memory_and_cores_are_known_or_said_to_be_unknown(system: str) -> None:
    assert platforms.resident_memory() > 1 << 16  # Linux counts KiB where macOS counts bytes
    assert (platforms.physical_memory() == 0) == (system == "win32")
    before = platforms.own_cores()
    with platforms.on_any_core():
        assert 1 <= before <= platforms.own_cores() <= (os.cpu_count() or 1)
    assert platforms.own_cores() == before


def test_memory_where_proc_is_not_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert platforms.resident_memory() == platforms.TYPICAL


def test_processes_end(system: str) -> None:
    for end in (platforms.kill, platforms.kill_session):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as one:
            end(one.pid)
            assert one.wait(30) == (-15 if system == "win32" else -9)
    platforms.kill(one.pid)  # which is not there any more
    assert (platforms.posix_shell() is None) == (system == "win32")


def test_a_process_ends_after_its_time() -> None:
    code = "import time; from mpigd import platforms; platforms.end_after(1); time.sleep(100)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGALRM


def test_on_windows_nothing_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "win32")
    platforms.end_after(1)


def test_the_program_of_a_process_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    own = platforms.program_of(os.getpid())
    assert own
    assert platforms.program_of(2**22 + 1) == ""
    # Where there is no /proc, `ps` says it, or there is no `ps` either.
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert platforms.program_of(os.getpid()) in (own, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="/opt/open mpi/bin/prterun\n"))
    assert platforms.program_of(1) == "prterun"


def test_what_a_terminal_can_not_show_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    platforms.print_anything()
    print("R² → ü", flush=True)
    assert raw.getvalue().split() == [b"R\xb2", b"?", b"\xfc"]


def test_help_is_printed_where_text_is_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "mpigd", "train", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--batch-size" in done.stdout


def test_nobody_else_asks_what_system_this_is() -> None:
    for path in Path(mpigd.__file__).parent.rglob("*.py"):
        if path.name == "platforms.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call) else ""
            assert said not in ("sys.platform", "os.name"), f"{path} asks for the system: {said}"
            assert not said.startswith(("hasattr(os,", "hasattr(signal,", "platform.system(")), f"{path}: {said}"

"""What differs between operating systems and file systems, in one place: files, signals, memory, cores.

Elsewhere nobody asks on what system this is. Where a system lacks something, a function here does the next best thing,
which its docstring says. docs/platforms.md tells what was tried where.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl
    import resource

MOST_AT_ONCE = 1 << 30  # bytes that a system is asked to read or write: macOS refuses 2 GiB, Linux does a part of it
PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds between attempts to rename
NO_DIRECTORIES = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of file systems that can't flush a directory
TYPICAL = 160 << 20  # bytes of a process before it reads
# What asks a process to end. Windows has no other that it sends: SIGBREAK stands for Ctrl+Break, and a console's end.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGBREAK") if hasattr(signal, name)
)

_moving = threading.Lock()


# ---- files ----


def open_bytes(path: Path, flags: int) -> int:
    """A descriptor of a file, as of os.open. Windows would translate ends of lines unless told."""
    return os.open(path, flags | getattr(os, "O_BINARY", 0))


def write_some(descriptor: int, memory: memoryview, place: int) -> int:
    """Write the beginning of some bytes to byte `place` of an open file; how many were."""
    some = memory[:MOST_AT_ONCE]
    if sys.platform != "win32":
        return os.pwrite(descriptor, some, place)
    else:
        with _moving, io.FileIO(descriptor, "r+", closefd=False) as file:
            file.seek(place)
            return file.write(some)


def read_some(descriptor: int, memory: memoryview, place: int) -> int:
    """Fill the beginning of memory with the bytes of an open file from `place` on; how many, 0 at its end."""
    some = memory[:MOST_AT_ONCE]
    if sys.platform != "win32":
        return os.preadv(descriptor, [some], place)
    else:
        with _moving, io.FileIO(descriptor, "r", closefd=False) as file:
            file.seek(place)
            return file.readinto(some) or 0


def will_read(descriptor: int, place: int, count: int) -> None:
    """Say that bytes will be read in their order; a hint, which Linux takes."""
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, place, count, os.POSIX_FADV_SEQUENTIAL)


def flush(descriptor: int) -> None:
    """Have on the disk what was written to an open file. On macOS fsync alone leaves it in the disk's cache."""
    if sys.platform == "darwin":
        with suppress(OSError):  # not on every file system
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush_directory(path: Path) -> None:
    """Have on the disk what names are in a directory. Windows, and some file systems, see to that themselves."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NO_DIRECTORIES:
                raise
        finally:
            os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Give a file another name, in place of the file that had it: at once or not at all.

    Windows refuses while a process has the old file open, as a reader or a virus scanner may for a moment: then it is
    tried for a second and a half.
    """
    for pause in PAUSES if sys.platform == "win32" else ():
        with suppress(PermissionError):
            os.replace(source, target)
            return
        time.sleep(pause)
    os.replace(source, target)


# ---- processes ----


def end_after(seconds: int) -> None:
    """End this process after so many seconds, whatever it waits for; 0 takes that back. Not on Windows."""
    if sys.platform != "win32":
        with suppress(ValueError):  # in another thread than the first, where nobody has taken it
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)


def kill(process: int) -> None:
    """End a process of this machine at once, if it is there and ours."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            os.kill(process, signal.SIGTERM)  # any signal ends it
        else:
            os.kill(process, signal.SIGKILL)


def kill_session(process: int) -> None:
    """End a process that began a session, and those that it has started. On Windows it alone."""
    if sys.platform == "win32":
        kill(process)
    else:
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def posix_shell() -> str | None:
    """Where `sh` is, if there is one that knows processes by their numbers: not on Windows, where it has its own."""
    return None if sys.platform == "win32" else shutil.which("sh")


def program_of(process: int) -> str:
    """The name of a process's program; empty where the system does not say."""
    with suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    with suppress(OSError, subprocess.SubprocessError):  # macOS
        command = ["ps", "-o", "comm=", "-p", str(process)]
        return Path(subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()).name
    return ""


def print_anything() -> None:
    """Have standard output take every character: where it is no UTF-8, others come out as question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


# ---- memory and cores ----


def resident_memory() -> int:
    """Bytes of memory that this process has; on macOS the most that it had, on Windows a typical figure."""
    found = TYPICAL
    if sys.platform == "darwin":
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    elif sys.platform != "win32":
        with suppress(OSError, ValueError):  # where /proc is not mounted
            found = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return found


def physical_memory() -> int:
    """Bytes of memory of this machine; 0 where the system does not say, as Windows."""
    if sys.platform != "win32":
        with suppress(OSError, ValueError):
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def own_cores() -> int:
    """Cores that this process may use: launchers bind ranks. All of the machine where there is no binding (macOS)."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    else:
        return os.cpu_count() or 1


@contextmanager
def on_any_core() -> Iterator[None]:
    """Let this thread alone run on all cores that the system gives the job."""
    if sys.platform == "linux":
        before = os.sched_getaffinity(0)
        with suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
    else:
        yield

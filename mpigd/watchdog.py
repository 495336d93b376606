"""A limit for what can't be interrupted from Python: libraries that may loop for ever, or crash, on a damaged file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from mpigd import platforms

# The library holds Python's lock while it loops, so that no thread or signal handler of this process could run.
SCRIPT = """
left=$1
while [ "$left" -gt 0 ]; do
    sleep 0.1
    kill -0 "$3" 2>/dev/null || break
    left=$((left - 1))
done
printf 'mpigd: %s\\n' "$2" >&2
kill -KILL "$3" 2>/dev/null
"""


@contextmanager
def limited(seconds: float, message: str) -> Iterator[None]:
    """Run a block; if it is not done after so many seconds, print the message and kill this process.

    Print it, too, if the process dies meanwhile. The launcher then ends the other ranks. Without a POSIX shell there
    is no limit.
    """
    shell = platforms.posix_shell()
    if shell is None:
        yield
        return
    command = [shell, "-c", SCRIPT, "mpigd-watchdog", str(round(10.0 * seconds)), message, str(os.getpid())]
    watcher = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        platforms.kill_session(watcher.pid)
        watcher.wait()

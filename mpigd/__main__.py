"""`python -m mpigd`: the same statements on every rank."""

from __future__ import annotations

import os
import sys
import traceback

# Numba looks for scipy.linalg when it starts, for matrix products inside kernels. mpigd's kernels have none,
# and importing scipy costs each rank as long as importing Numba: so for this program there is no scipy.
sys.modules.setdefault("scipy", None)  # type: ignore[arg-type]

from mpigd.cli import dispatch  # noqa: E402
from mpigd.comm import Comm  # noqa: E402
from mpigd.errors import MpigdError  # noqa: E402

INTERRUPTED = 130


def main() -> int:
    """Run the command of sys.argv on all ranks and return the exit status of this one."""
    comm = Comm.world()
    try:
        status = dispatch(comm, sys.argv[1:])
    except MpigdError as error:
        if error.agreed or comm.size == 1:
            if comm.rank == 0:
                complain(str(error))
            status = error.exit_status
        else:
            complain(f"{error} (rank {comm.rank} on {comm.host()})")
            comm.abort(error.exit_status)
            raise
    except KeyboardInterrupt:
        if comm.rank == 0:
            complain("interrupted")
        status = INTERRUPTED
        if comm.size > 1:
            comm.abort(status)
    except Exception:
        complain(f"internal error on rank {comm.rank} on {comm.host()}; please report it:\n{traceback.format_exc()}")
        status = 1
        if comm.size > 1:
            comm.abort(status)
    comm.leave()
    return status


def program() -> None:
    """Run the command, then end the process.

    Taking apart the interpreter with Numba's and LLVM's tables in it costs each rank a third of its
    start-up, and frees nothing that the operating system would not: so it is left out.
    """
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    Comm.finalize()
    os._exit(status)


def complain(message: str) -> None:
    """Print a message on standard error."""
    print(f"mpigd: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    program()

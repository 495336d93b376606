"""`python -m mpigd`: the same statements on every rank."""

from __future__ import annotations

import sys
import traceback

from mpigd.cli import dispatch
from mpigd.comm import Comm
from mpigd.errors import MpigdError

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
    sys.stdout.flush()
    comm.leave()
    return status


def complain(message: str) -> None:
    """Print a message on standard error."""
    print(f"mpigd: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m mpigd`: the same statements on every rank."""

from __future__ import annotations

import sys
import traceback

from mpigd.cli import dispatch
from mpigd.comm import Comm
from mpigd.errors import LostError, MpigdError, RanksLostError, complain
from mpigd.launch import check_launch, end_hanging_launcher, note
from mpigd.platforms import print_anything

INTERRUPTED = 130


def attempt(comm: Comm) -> int:
    """Run the command; where ranks die that it does not go on without by itself, begin anew with those that are left.

    Nothing is there before it is whole, so that a command can always be begun anew.
    """
    while True:
        try:
            comm.enrol()
            return dispatch(comm, sys.argv[1:])
        except RanksLostError:
            if not comm.survives:
                raise
            lost = comm.repair()
            if comm.rank == 0:
                names = ", ".join(map(str, lost)) or "a rank"
                complain(f"{names} died; beginning again with {comm.size} rank(s)")


def main() -> int:
    """Run the command of sys.argv on all ranks and return the exit status of this one."""
    print_anything()
    comm = Comm.world()
    try:
        check_launch(comm.size)
        status = attempt(comm)
    except RanksLostError:
        if comm.rank == 0:
            complain("a rank died; start the job again (a fit goes on with --resume)")
        status = LostError.exit_status
        comm.abort(status)
    except MpigdError as error:
        if error.agreed or comm.size == 1:
            if comm.rank == 0 and str(error):
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
    if comm.rank == 0:
        note("status", status)
        if status or comm.damaged:
            end_hanging_launcher()
    comm.finish(status)
    return status


if __name__ == "__main__":
    sys.exit(main())

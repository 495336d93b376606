"""Errors that a user can do something about, and the exit status of each.

Status 0 means that the job did what was asked. 1 is a defect of mpigd (a traceback is printed); 130 an
interrupt from the keyboard.
"""

import sys


def complain(message: str) -> None:
    """Print a message on standard error, in one piece: all ranks may share it."""
    sys.stderr.write(f"mpigd: {message}\n")
    sys.stderr.flush()


class RanksLostError(Exception):
    """Ranks have died, as a collective has found: `Comm.repair` goes on with those that are left. No user sees it."""


class MpigdError(Exception):
    """Base of the errors below: its message names what is wrong, where, and what to do.

    `agreed` is set by `Comm.agreement` once every rank raises the same error.
    """

    exit_status = 1
    agreed = False


def same_everywhere(error: MpigdError) -> MpigdError:
    """An error that every rank raises by itself, from what all hold alike: nothing is left to agree on."""
    error.agreed = True
    return error


class UsageError(MpigdError):
    """An option is unknown, malformed or impossible together with another."""

    exit_status = 2


class DataError(MpigdError):
    """An input file can't be read, or holds what the job can't use."""

    exit_status = 3


class DivergenceError(MpigdError):
    """The iterates grow without bound."""

    exit_status = 4


class OutputError(MpigdError):
    """A result can't be written."""

    exit_status = 5


class BitsError(MpigdError):
    """Bits differ that have to be the same: between ranks, or from those that a model was fitted with."""

    exit_status = 6


class DoneError(MpigdError):
    """There is nothing left to do: said, but a success."""

    exit_status = 0


class StoppedError(MpigdError):
    """The fit was asked to stop before it had ended: by a signal or a time limit. A checkpoint tells where to go on."""

    exit_status = 7


class LostError(MpigdError):
    """Ranks have died, and the job may or can not go on without them."""

    exit_status = 8

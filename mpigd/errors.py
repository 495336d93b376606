"""Errors that a user can do something about, and the exit status of each.

Status 0 means that the job did what was asked. 1 is a defect of mpigd (a traceback is printed); 130 an
interrupt from the keyboard.
"""


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

"""How the job was started: whether as one, by what, and until when."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress

from mpigd import platforms
from mpigd.errors import UsageError, same_everywhere
from mpigd.options import parse_seconds

# By launcher: what it says of the number of ranks, and of this one's. The first that is there counts: ranks of
# mpirun may also see what SLURM says of the step that started mpirun's own daemons.
LAUNCHERS = {
    "Open MPI's mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "MPICH's mpirun": ("PMI_SIZE", "PMI_RANK"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
}
REMEDIES = {
    "srun": "give srun the --mpi=… that this MPI was built for (pmix for Open MPI, pmi2 for MPICH; see srun "
    "--mpi=list), or use mpirun inside of sbatch",
}
USUAL_REMEDY = "use the mpirun of the MPI library that mpi4py is bound to (python -m mpi4py --mpi-library)"


def check_launch(size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raise UsageError where a launcher has started several ranks, of which each takes itself for the only one.

    That is what happens with a launcher of another MPI: so many separate jobs, of which each would write the same
    files. Not a collective; the error is one that all of them raise.
    """
    said = ((launcher, environment.get(size, ""), rank) for launcher, (size, rank) in LAUNCHERS.items())
    launcher, started, rank = next((each for each in said if each[1].isdigit()), ("", "1", ""))
    if size == 1 and int(started) > 1:
        number = environment.get(rank, "0")
        message = (
            f"{launcher} has started {started} processes, but each is a job of one rank: their MPI library does not "
            f"know this launcher; {REMEDIES.get(launcher, USUAL_REMEDY)}"
        )
        raise same_everywhere(UsageError(message if number == "0" else ""))


def end_of_job(environment: Mapping[str, str] = os.environ) -> float | None:
    """When the batch system will end the job, as time.time(); None if there is no limit, or none is known."""
    if "SLURM_JOB_ID" not in environment:
        return None
    if environment.get("SLURM_JOB_END_TIME", "").isdigit():
        return float(environment["SLURM_JOB_END_TIME"])
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--jobs", environment["SLURM_JOB_ID"], "--format", "%L"]
    try:
        left = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        return time.time() + parse_seconds(left)
    except (OSError, subprocess.SubprocessError, UsageError):  # UNLIMITED among them
        return None


def note(what: str, value: object, environment: Mapping[str, str] = os.environ) -> None:
    """Tell the script that started the job something, if it has named a file for that: a launcher's status says little.

    Lines are `directory PATH`, where a fit is written, and at the end of every job `status NUMBER`.
    """
    if path := environment.get("MPIGD_RUN_NOTE"):
        with suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{what} {value}\n")


HANGING = 30  # seconds after the end of the ranks that a launcher is given
WAIT_AND_KILL = (
    "n=0; while [ $n -lt {patience} ]; do sleep 1; kill -0 {pid} || exit 0; n=$((n + 1)); done; kill -9 {pid}"
)


def end_hanging_launcher(patience: int = HANGING) -> None:
    """Leave a process behind that ends this one's launcher if that has not ended after so many seconds.

    prterun of Open MPI 5 (PRRTE 3.0.11) was seen to wait for a lock for ever when all ranks had stopped after a signal
    that it had been sent as well; a batch job would wait with it until its limit. Does nothing with other launchers.
    """
    launcher = os.getppid()
    if platforms.program_of(launcher).startswith("prte"):
        with suppress(OSError):
            subprocess.Popen(
                ["sh", "-c", WAIT_AND_KILL.format(pid=launcher, patience=patience)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )

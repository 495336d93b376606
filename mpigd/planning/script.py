"""A batch script for SLURM that starts a fit on as many ranks as were planned."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mpigd.options import Train
from mpigd.planning.forecast import Forecast

SAFETY, LEAST_MINUTES = 3.0, 10  # of the time limit
MARGIN, COMPILING = 1.2, 300 << 20  # of memory; what one rank of a node takes while it compiles kernels

SCRIPT = """\
#!/bin/bash
# mpigd train on {ranks} rank(s) of {nodes} node(s), as planned: {seconds:.3g} s and {memory:.0f} MiB a rank expected.
# To adapt: add your --account and --partition; load the modules that this Python and its MPI need below.
#SBATCH --job-name=mpigd
#SBATCH --nodes={nodes}
#SBATCH --ntasks={ranks}
#SBATCH --ntasks-per-node={each}
#SBATCH --cpus-per-task={threads}
# Memory of a node: {each} rank(s), a fifth more than predicted, and what compiling kernels takes once.
#SBATCH --mem={node_memory}M
# Predicted time times {safety:g}, at least {least} minutes.
#SBATCH --time={limit}
set -euo pipefail

# module load openmpi
cd {directory}
python={python}
result=mpigd-$SLURM_JOB_ID.json
# mpigd's parallelism is its ranks and --threads.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# Open MPI's mpirun takes nodes and ranks from SLURM. One that is not of the MPI of this Python starts jobs of one rank.
start=(mpirun -n "$SLURM_NTASKS"{binding})
ranks=$("${{start[@]}}" "$python" -c 'from mpi4py import MPI; c = MPI.COMM_WORLD; c.rank or print(c.size)')
if [ "$ranks" != "$SLURM_NTASKS" ]; then
    echo "mpirun did not start one job of $SLURM_NTASKS ranks: use the one of the MPI that mpi4py uses" >&2
    exit 1
fi

"${{start[@]}}" "$python" -m mpigd train {arguments} --json >"$result"
# A launcher may end with status 0 although it lost a node: what counts is the result.
[ -s "$result" ]
"""


def batch_script(options: Train, plan: Forecast) -> str:
    """The text of the script; paths are as they were given, from the directory where the plan was made."""
    memory = plan.each * plan.memory.total * MARGIN + COMPILING
    return SCRIPT.format(
        ranks=plan.ranks,
        nodes=plan.nodes,
        each=plan.each,
        threads=options.threads,
        seconds=plan.seconds,
        memory=plan.memory.total / 2**20,
        node_memory=math.ceil(memory / 2**20),
        safety=SAFETY,
        least=LEAST_MINUTES,
        limit=time_limit(plan.seconds),
        directory=shlex.quote(str(Path.cwd())),
        python=shlex.quote(sys.executable),
        binding=' --map-by slot:PE="$SLURM_CPUS_PER_TASK"' if options.threads > 1 else "",
        arguments=shlex.join(arguments_of(options)),
    )


def time_limit(seconds: float) -> str:
    """A limit for a fit that is expected to take so long, as SLURM reads it: [days-]hours:minutes:seconds."""
    minutes = max(math.ceil(SAFETY * seconds / 60.0), LEAST_MINUTES)
    days, minutes = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def arguments_of(options: Train) -> list[str]:
    """What `mpigd train` is to be called with; --json, which the script has, is left out."""
    words = [str(path) for path in options.data]
    for field in fields(Train):
        value = getattr(options, field.name)
        if field.name not in ("data", "json") and value != field.default:
            words += _words(f"--{field.name.replace('_', '-')}", value)
    return words


def _words(option: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield option if value else option.replace("--", "--no-", 1)
        return
    for one in value if isinstance(value, tuple) else (value,):
        # In one word, for values that begin with a minus sign.
        yield f"{option}={one}"

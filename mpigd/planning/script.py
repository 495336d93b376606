"""A batch script for SLURM that starts a fit on as many ranks as were planned."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mpigd.options import Train
from mpigd.planning.forecast import Forecast

SAFETY, LEAST_MINUTES = 3.0, 10  # of the time limit
MARGIN, COMPILING = 1.2, 300 << 20  # of memory; what one rank of a node takes while it compiles kernels

# For jobs of several nodes.
NODES_MAY_FAIL = """\
# A node that is cut off is noticed within seconds, not after the many minutes of TCP.
export PRTE_MCA_oob_tcp_keepalive_time=2 PRTE_MCA_oob_tcp_keepalive_intvl=1 PRTE_MCA_oob_tcp_keepalive_probes=2
"""

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
# Ahead of its limit the fit stops with a checkpoint; then, and after a node has failed, the job is queued again.
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

# module load openmpi
cd {directory} || exit 1
python={python}
run={run_dir}
# mpigd's parallelism is its ranks and --threads.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# What goes on when ranks die is Open MPI 5 with this, and started so.
export OMPI_MCA_pml=ob1
{nodes_may_fail}start=(mpirun -n "$SLURM_NTASKS"{binding})
mpirun --version | grep -qE '\\(Open MPI\\) ([5-9]|[1-9][0-9])\\.' && start+=(--with-ft ulfm)
mkdir -p "$run"
"${{start[@]}}" "$python" -m mpigd train {arguments} --resume=auto --run-dir="$run" --json >"$run/result.json"
# A launcher may end with status 0 although it lost a node, which leaves "running": what counts is what the run says.
case $(cat "$run/STATUS") in
    done) exit 0 ;;
    stopped | running) [ "${{SLURM_RESTART_COUNT:-0}}" -lt 20 ] && scontrol requeue "$SLURM_JOB_ID" ;;
    *) exit 1 ;;
esac
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
        nodes_may_fail=NODES_MAY_FAIL if plan.nodes > 1 else "",
        run_dir=shlex.quote(str(options.run_dir)) if options.run_dir else "runs/mpigd-$SLURM_JOB_ID",
        binding=' --map-by slot:PE="$SLURM_CPUS_PER_TASK"' if options.threads > 1 else "",
        arguments=shlex.join(arguments_of(replace(options, run_dir=None, resume="no"))),
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

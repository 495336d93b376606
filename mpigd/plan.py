"""The job `plan`: how many ranks a fit is worth, from a short measurement here and a model of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mpigd_kernels as kernels
import numpy as np

from mpigd import platforms
from mpigd.comm import Comm
from mpigd.dataset import shared_header
from mpigd.files import check_writable, written_whole
from mpigd.objective import cost_of, outputs_of
from mpigd.options import Plan, Train, parse_bytes
from mpigd.planning.forecast import Forecast, Job, counts, forecast, work_at_most, worth_having
from mpigd.planning.network import SHARED_MEMORY, Link, Network
from mpigd.planning.probe import Machine, measure_machine
from mpigd.planning.sample import Sample, read_sample
from mpigd.planning.script import batch_script
from mpigd.problem import check_loss, check_solver, make_solver
from mpigd.solvers import ONE_OUTPUT
from mpigd.solvers.choice import Work, expected_work
from mpigd.storage import Names, find_files

UP_TO = 32  # ranks, and twice as many, are looked at where no number is asked for
COMPRESSED = ("int8", "top-share")


@dataclass(frozen=True)
class Planned:
    """Forecasts, and what they come from; the same on all ranks.

    solver, why : as of a fit.  worth : the ranks worth having, None where memory suffices for none of the numbers.
    advice : that in a sentence.  notes : what a user should know.  script : what was written; known to rank 0 alone.
    """

    job: Job
    machine: Machine
    network: Network
    solver: str
    why: str
    forecasts: tuple[Forecast, ...]
    worth: int | None
    advice: str
    notes: tuple[str, ...]
    script: str = ""

    @property
    def sentences(self) -> list[str]:
        """What was measured and what would be used, for a person."""
        machine, link, across = self.machine, self.network.within, self.network.between
        hessian = f", a Hessian at {_giga(machine.hessian)} GB/s" if self.job.hessian else ""
        return [
            f"solver: {self.solver}" + (f" ({self.why})" if self.why else ""),
            f"this machine: {machine.cores} cores that read {_giga(machine.bus)} GB/s of memory; a rank of "
            f"{machine.each} reads {_giga(machine.read)} GB/s of X from the files and computes a gradient at "
            f"{_giga(machine.gradient)} GB/s{hessian}",
            f"network: {_told(link)} between ranks of a node ({'measured' if machine.within else 'assumed'}), "
            f"{_told(across)} between nodes (given)",
        ]

    def summary(self) -> dict[str, Any]:
        """What `plan --json` prints, as plain values."""
        machine = {key: value for key, value in vars(self.machine).items() if key != "within"}
        links = {"within": self.network.within, "between": self.network.between}
        return {
            "rows": self.job.header.n,
            "columns": self.job.header.d,
            "bytes": self.job.header.bytes,
            "blocks": self.job.blocks,
            "solver": self.solver,
            "why": self.why,
            "worth": self.worth,
            "advice": self.advice,
            "notes": list(self.notes),
            "gradient_message": self.job.message(),
            "hessian_message": self.job.message(hessian=True) if self.job.hessian else 0,
            "forecasts": [some.summary() for some in self.forecasts],
            "machine": machine,
            "network": {name: dict(vars(link)) for name, link in links.items()},
            "network_measured": self.machine.within is not None,
            **({"script": self.script} if self.script else {}),
        }


def run(comm: Comm, options: Plan, observers: Sequence[Any] = ()) -> Planned:
    """Measure, predict, and write the script if one is asked for. A collective."""
    fit = options.fit
    with comm.agreement():
        check_loss(fit)
        check_solver(fit)
        if options.slurm is not None and comm.rank == 0:
            check_writable(options.slurm)
    process = int(comm.max(np.array([platforms.resident_memory()]))[0])
    sample = _sample(comm, fit)
    with comm.agreement():
        solver, name, why = make_solver(fit, sample.data)
        one_in = getattr(solver, "one_in", 0)
        job, bounded = make_job(options, sample, name, one_in)
    machine = measure_machine(comm, sample, fit, job.hessian)
    network = Network(machine.within or SHARED_MEMORY, Link(options.latency * 1e-6, 1e-9 / options.bandwidth))
    forecasts = _forecasts(options, job, machine, process, network)
    worth, advice = worth_having(forecasts, job.blocks)
    notes = tuple(_notes(options, job, machine, bounded))
    planned = Planned(job, machine, network, name, why, forecasts, worth, advice, notes)
    with comm.agreement():
        if options.slurm is not None and comm.rank == 0:
            planned = replace(planned, script=str(_write_script(options.slurm, fit, planned, options.ranks)))
    return planned


def make_job(options: Plan, sample: Sample, solver: str, one_in: int) -> tuple[Job, bool]:
    """What a solver has to do, and whether that is only a bound. one_in : of its metric."""
    data, loss = sample.data, kernels.LOSSES[options.loss]
    header, rows = data.header, data.slice
    shape = cost_of(data, loss, (header.d + options.intercept, outputs_of(data, loss)), options.kinks)
    work = expected_work(shape, solver, one_in)
    known = work or work_at_most(options, solver, header.n)
    beside = (rows.y.shape[1] + header.sample_weight + header.offset) * rows.y.itemsize
    job = Job(
        header=header,
        shape=shape,
        stored=sum(file.path.stat().st_size for file in header.files),
        beside=beside,
        work=Work(*(options.path * part for part in known)),
        hessian=solver in ONE_OUTPUT or one_in > 0,
        exactly=options.reduce == "exact",
        threads=options.threads,
        memory=None if options.memory is None else parse_bytes(options.memory),
        read_rate=None if options.read_rate is None else options.read_rate * 1e6,
    )
    return job, work is None


def _sample(comm: Comm, options: Train) -> Sample:
    with comm.agreement():
        files = find_files([*options.data, *options.validation_data, *options.test_data])
    target = kernels.LOSSES[options.loss].target
    header = shared_header(comm, files, Names(x=options.x, y=options.y, group=options.group), target)
    computing = kernels.Computing(np.dtype(options.arithmetic), options.threads)
    return read_sample(comm, header, target, computing)


def _forecasts(options: Plan, job: Job, machine: Machine, process: int, network: Network) -> tuple[Forecast, ...]:
    """Of all numbers of ranks, compared with one."""
    found = [
        forecast(job, machine, process, network, ranks, options.nodes)
        for ranks in counts(options.ranks or UP_TO, job.blocks)
    ]
    alone = found[0].seconds
    return tuple(replace(f, speed_up=alone / f.seconds, efficiency=alone / f.seconds / f.ranks) for f in found)


def _notes(options: Plan, job: Job, machine: Machine, bounded: bool) -> list[str]:
    notes = []
    if options.read_rate is None:
        notes.append(
            "the files may have been in this machine's memory when they were read; --read-rate says what a node gets "
            "from where they lie"
        )
    if machine.within is None and options.nodes < (options.ranks or UP_TO):
        notes.append("messages between ranks of a node are measured where plan itself runs on two ranks or more")
    if bounded:
        notes.append("when this solver converges is not known: times are those of all --max-passes")
    elif options.path > 1:
        notes.append("fits along a path begin near their ends and take less than predicted")
    if options.reduce in COMPRESSED:
        notes.append(f"messages are predicted as those of --reduce fast; {options.reduce} sends less")
    if options.ranks is not None and options.ranks > job.blocks:
        notes.append(f"there are {job.blocks} blocks of rows: other ranks would have nothing to do")
    return notes


def _write_script(path: Path, fit: Train, planned: Planned, asked: int | None) -> Path:
    """For the ranks asked for, else those worth having, else as many as were looked at."""
    ranks = asked or planned.worth or planned.forecasts[-1].ranks
    chosen = next(f for f in planned.forecasts if f.ranks == ranks)
    with written_whole(path) as temporary:
        temporary.write_text(batch_script(fit, chosen), encoding="utf-8")
    return path


def _told(link: Link) -> str:
    return f"{link.latency * 1e6:.3g} µs and {link.bandwidth / 1e9:.3g} GB/s"


def _giga(seconds_a_byte: float) -> str:
    return f"{1e-9 / seconds_a_byte:.3g}" if seconds_a_byte else "?"

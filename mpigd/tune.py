"""The job `tune`: options of a fit chosen by cross-validation, many fits in each read of the rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpigd import checkpoint
from mpigd.comm import Comm
from mpigd.crossvalidation import ALL, CrossValidation
from mpigd.errors import DataError, LostError, MpigdError, RanksLostError, UsageError, same_everywhere
from mpigd.files import reported, written_whole
from mpigd.keeper import Keeper
from mpigd.options import Tune
from mpigd.options.tune import Value
from mpigd.problem import check_loss, check_solver, read_split
from mpigd.rundir import DONE, TUNING, RunDirectory
from mpigd.search import Trial, best_of, candidates_of, chosen_of, rank
from mpigd.splits import Split
from mpigd.train import Fit, asked_to_stop
from mpigd.train import run as train
from mpigd.watch import Watch


@dataclass(frozen=True)
class Tuned:
    """What came of a search; the same on all ranks.

    trials : in the order in which candidates are tried.  best, chosen : places of them.
    fit : on all rows to train with what was chosen; None where that was not asked for.
    """

    trials: tuple[Trial, ...]
    best: int
    chosen: int
    score: str
    rule: str
    folds: int
    seconds: float
    run_dir: str
    fit: Fit | None = None

    def best_first(self) -> list[int]:
        """Places of trials, those that were given up last."""
        return sorted(
            range(len(self.trials)),
            key=lambda place: (self.trials[place].note != "", rank(self.trials[place], self.score)),
        )

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "score": self.score,
            "rule": self.rule,
            "folds": self.folds,
            "best": self.best,
            "chosen": self.chosen,
            "trials": [trial.summary() for trial in self.trials],
            "search_seconds": self.seconds,
            "run_dir": self.run_dir,
            **({"fit": self.fit.summary()} if self.fit else {}),
        }


def run(comm: Comm, options: Tune, observers: Sequence[Any] = ()) -> Tuned:
    """Read, try all candidates on all folds, fit with the one that is chosen, write the run directory."""
    begin = time.perf_counter()
    if comm.damaged and (asked := asked_to_stop(options, comm.size)):
        raise same_everywhere(LostError(f"{comm.size} rank(s) are left ({asked}); the search goes on with --resume"))
    candidates: list[dict[str, Value]] = []
    with comm.agreement():
        if options.rank_groups > comm.size:
            raise UsageError(f"--rank-groups {options.rank_groups}: there are {comm.size} rank(s)")
        if comm.rank == 0:
            candidates = candidates_of(options)
            for candidate in map(options.with_values, candidates):
                check_loss(candidate)
                check_solver(candidate)
    path = comm.share(options.run_dir or RunDirectory.usual("tune"))
    keeper = Keeper(comm, options, path, checkpoint.SEARCH)
    keeper.look()
    candidates = comm.share(candidates)
    try:
        split, trials = _tried(comm, options, candidates, observers, keeper)
        best = best_of(trials, options.score)
        if best is None:
            raise same_everywhere(
                DataError(f"no candidate came to an end: {trials[0].note or 'scores are no numbers'}")
            )
    except MpigdError as error:
        keeper.end_badly(error)
        raise
    except RanksLostError:
        keeper.leave()
        raise
    chosen = chosen_of(trials, best, options.score, options.rule)
    seconds = time.perf_counter() - begin
    folds = len(trials[best].scores)
    tuned = Tuned(tuple(trials), best, chosen, options.score, options.rule, folds, seconds, str(path))
    keeper.release(None if options.refit else DONE)
    if options.refit:
        final = replace(options.with_values(trials[chosen].values), run_dir=path)
        if options.resume != "no":  # the search, which has ended, or the fit
            final = replace(final, resume="auto")
        if options.time_limit not in (None, "none"):
            final = replace(final, time_limit=f"{max(keeper.seconds_left, 1.0):.3f}")
        tuned = replace(tuned, fit=train(comm, final, observers, split))
    _write(comm, tuned, path)
    return tuned


def _tried(
    comm: Comm, options: Tune, candidates: list[dict[str, Value]], observers: Sequence[Any], keeper: Keeper
) -> tuple[Split | None, list[Trial]]:
    """The rows, where all ranks share them, and trials of all candidates. A collective."""
    if options.rank_groups > 1:
        keeper.create(())
        return None, _in_groups(comm, options, candidates, observers, keeper)
    search = CrossValidation(comm, options, observers, keeper)
    with Watch(comm, keeper.path, options.stall_timeout, keeper.goes_on, lambda: keeper.save_now(search)) as watch:
        watch.deadline = keeper.deadline
        split = read_split(comm, options)
        search.begin(split)
        trials = search.trials(candidates)
        search.end()
    with comm.agreement():
        if comm.rank == 0:
            keeper.save(search)  # the fit that comes may have to go on in another job
    return split, trials


def _write(comm: Comm, tuned: Tuned, path: Path) -> None:
    """Write tuning.json, with which checkpoints of the search are of no more use. A collective."""
    with comm.agreement():
        if comm.rank == 0:
            found = {key: value for key, value in tuned.summary().items() if key != "fit"}
            with reported(path / TUNING):
                path.mkdir(parents=True, exist_ok=True)
                with written_whole(path / TUNING) as temporary:
                    temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                checkpoint.thin_out(path, 0, checkpoint.SEARCH)
                with suppress(OSError):
                    (path / checkpoint.SEARCH).rmdir()


def _in_groups(
    comm: Comm, options: Tune, candidates: list[dict[str, Value]], observers: Sequence[Any], keeper: Keeper
) -> list[Trial]:
    """Trials of all candidates, of which each group of ranks makes some. A collective."""
    groups = min(options.rank_groups, len(candidates))
    ends = [len(candidates) * k // groups for k in range(groups + 1)]
    with comm.agreement(), comm.divided(groups) as (some, k):
        some.enrol()
        search = CrossValidation(some, options, observers if k == 0 else ())
        with Watch(some, keeper.path, options.stall_timeout, keeper.goes_on, lambda: None) as watch:
            watch.deadline = keeper.deadline
            search.begin(read_split(some, options))
            mine = search.trials(candidates[ends[k] : ends[k + 1]])
            search.end()
        first = some.rank == 0
    every = dict(comm.gather((k, mine) if first else (ALL, [])))
    return [trial for k in range(groups) for trial in every[k]]

"""Which solver `--solver auto` takes, and how L-BFGS is preconditioned: a model of what each would cost.

    seconds = passes × (bytes of X / bandwidth + arithmetic) + equations to solve

on one rank of the machine whose figures stand below. Ranks divide the passes of all solvers alike, and a choice that
depended on them would change the bits of the model; so would one that measured. Messages are left out for that reason,
and because all solvers here send one for each pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

# Measured with benchmarks/kernels.py on two kinds of processors.
BANDWIDTH = 10e9  # bytes a second that a rank reads
FROM_FILES = 0.5e9  # the same where they are read from files for every pass
FLOPS = 40e9  # operations a second in products of blocks, double precision
SCATTERED = 2e9  # the same where columns are sparse
GRADIENT, HESSIAN = 1.3, 3.5  # reads that a pass takes beside products
SOLVING = 10e9  # operations a second with a factor that does not fit the cache
LARGEST_FACTOR = 4096  # rows of a matrix that every rank is to hold and factorise

PASS = 1e-4  # seconds that a pass takes at least

# Steps of ordinary problems to a gradient of 1e-6. Where columns are correlated, plain L-BFGS takes many more.
NEWTON_STEPS, LBFGS_STEPS = 6.0, 60.0
TO = 1e-6
FAR, NEAR = 10.0, 3.0  # steps of L-BFGS in a good metric, from zero and from the minimum of a part of the rows
LEAST_BLOCKS, MOST_SHARES, ROWS_EACH = 8, 16, 50  # of a part that a fit begins on, see `Shape.begins_on`


class Work(NamedTuple):
    """What a fit does: passes with the gradient alone and with the Hessian, how many sums of each, factorisations.

    A pass over a part of the rows counts by its share, and its sum as one. steps : in the metric of a part.
    """

    gradients: float = 0.0
    hessians: float = 0.0
    gradient_sums: float = 0.0
    hessian_sums: float = 0.0
    factors: float = 0.0
    steps: float = 0.0

    @property
    def passes(self) -> float:
        """Of both kinds."""
        return self.gradients + self.hessians


@dataclass(frozen=True)
class Shape:
    """What a problem costs is a function of this; the same on any number of ranks.

    n, d, outputs, block : of the data; rows of a block.  bytes : of X.  numbers : stored ones a row, d where it is
    dense.  p : rows of theta.  quadratic : whether the loss is.  kinks : whether the penalty has some, or bounds.
    streams : whether X may have to be read from files for every pass.
    """

    n: int
    d: int
    outputs: int
    block: int
    bytes: float
    numbers: float
    p: int
    quadratic: bool = False
    kinks: bool = False
    streams: bool = False

    @property
    def begins_on(self) -> int:
        """One of how many blocks is enough to come near the minimum of all of them; 0 where none is.

        With 50 rows for each element of theta, the minimum of a part is away from it by a small part of its own
        standard error.
        """
        share = min(self.n // self.block // LEAST_BLOCKS, MOST_SHARES)
        return share if share > 1 and self.n >= ROWS_EACH * share * self.p * self.outputs else 0

    @property
    def reading(self) -> float:
        """Seconds that a pass waits for files."""
        return self.bytes / FROM_FILES if self.streams else 0.0

    @property
    def gradient(self) -> float:
        """Seconds of a pass."""
        return (
            PASS
            + self.reading
            + max(GRADIENT * self.bytes / BANDWIDTH, 4.0 * self.n * self.numbers * self.outputs / FLOPS)
        )

    @property
    def hessian(self) -> float:
        """Seconds of a pass with a Hessian of one output."""
        products = self.n * self.numbers**2
        return (
            PASS
            + self.reading
            + HESSIAN * self.bytes / BANDWIDTH
            + products / (FLOPS if self.numbers == self.d else SCATTERED)
        )

    @property
    def factor(self) -> float:
        """Seconds of a factorisation."""
        return 2.0 / 3.0 * self.p**3 / FLOPS

    def steps(self, one_in: int) -> float:
        """Steps of L-BFGS in the metric of one of so many blocks; infinite where that is none.

        The Hessian of m rows in d columns, seen in the metric of all, has eigenvalues within (1 ± sqrt(d / m))^2, so
        that conjugate gradients gain a factor sqrt(d / m) a step.
        """
        ratio = math.sqrt(self.p * one_in / self.n)
        if ratio >= 0.9 or self.p > LARGEST_FACTOR:
            return math.inf
        steps, left = 0.0, 1.0
        while left > TO:  # a logarithm's last bit depends on the processor
            steps, left = steps + 1.0, left * ratio
        return max(steps, NEAR if self.quadratic or self.begins_on else FAR)

    def preconditioned(self, one_in: int) -> float:
        """Seconds of L-BFGS in the metric of one of so many blocks."""
        step = self.gradient + 4.0 * self.p**2 * self.outputs / SOLVING
        return self.hessian / one_in + self.factor + self.steps(one_in) * step


@dataclass(frozen=True)
class Choice:
    """A solver, the share of blocks that preconditions it (one in so many, 0 for the diagonal), and why."""

    solver: str
    one_in: int
    why: str


def share_for_metric(shape: Shape) -> int:
    """The best `one_in` of a preconditioner; 0 where the diagonal is cheaper."""
    shares = [1 << k for k in range(7) if k == 0 or (shape.n // shape.block) >> k >= LEAST_BLOCKS]
    best = min(shares, key=shape.preconditioned)
    return best if shape.preconditioned(best) < LBFGS_STEPS * shape.gradient else 0


def expected_work(shape: Shape, solver: str, one_in: int) -> Work | None:
    """What a solver is expected to do to a gradient of 1e-6; None for those that go on as long as they may.

    one_in : as of a `Choice`.
    """
    if solver == "direct":
        return Work(hessians=1.0, hessian_sums=1.0, factors=1.0)
    # Where it begins on a part of the rows, that is Newton's method, or costs about as much.
    on_part, share = (NEWTON_STEPS, NEWTON_STEPS / shape.begins_on) if shape.begins_on else (0.0, 0.0)
    if solver in ("newton", "prox-newton"):
        steps, first = (NEAR, (on_part, share)) if on_part and solver == "newton" else (NEWTON_STEPS, (0.0, 0.0))
        return Work(hessians=steps + first[1], hessian_sums=steps + first[0], factors=steps + first[0])
    if solver not in ("lbfgs", "newton-cg"):
        return None
    if solver == "newton-cg" or not one_in:
        return Work(gradients=LBFGS_STEPS, gradient_sums=LBFGS_STEPS)
    steps = shape.steps(one_in)
    return Work(1.0 + steps, 1.0 / one_in + share, 1.0 + steps, 1.0 + on_part, 1.0 + on_part, steps)


def choose(shape: Shape) -> Choice:
    """What auto takes."""
    one_in = share_for_metric(shape)
    if shape.kinks:
        name = "prox-newton" if shape.outputs == 1 else "nesterov"
        return Choice(name, 0, "the penalty or the bounds have kinks" + ("" if shape.outputs == 1 else ", outputs"))
    seconds = {"lbfgs": shape.preconditioned(one_in) if one_in else LBFGS_STEPS * shape.gradient}
    if shape.outputs == 1 and shape.p <= LARGEST_FACTOR:
        if shape.quadratic:
            seconds["direct"] = shape.hessian + shape.factor
        else:
            seconds["newton"] = NEWTON_STEPS * (shape.hessian + shape.factor)
    best = min(seconds, key=lambda name: seconds[name])
    guesses = ", ".join(f"{value:.2g} s with {name}" for name, value in sorted(seconds.items(), key=lambda s: s[1]))
    return Choice(best, one_in if best == "lbfgs" else 0, f"{shape.d} columns: about {guesses}, on one rank")

"""Which solver `--solver auto` takes: a model of what each would cost, in reads of the rows."""

from __future__ import annotations

# Costs are measured with benchmarks/kernels.py, float32 columns on one rank: a gradient takes 1.3 reads, and with the
# Hessian 3.5 and one more for every 16 columns. Steps are those of ordinary problems to a gradient of 1e-6; where
# columns are correlated, L-BFGS takes many more and Newton's method does not, hence no closer a model.
CHOICES = ("newton", "lbfgs")
GRADIENT, HESSIAN, COLUMNS_A_READ = 1.3, 3.5, 16.0
NEWTON_STEPS, LBFGS_STEPS = 8.0, 60.0


def choose(d: int, outputs: int) -> tuple[str, str]:
    """The solver for d columns and so many outputs, and why; a function of the data's shape alone."""
    if outputs > 1:
        return "lbfgs", f"{outputs} outputs: no Hessian is formed"
    newton = NEWTON_STEPS * (HESSIAN + d / COLUMNS_A_READ)
    lbfgs = LBFGS_STEPS * GRADIENT
    name = "newton" if newton <= lbfgs else "lbfgs"
    return name, f"{d} columns: about {newton:.0f} reads of the rows with newton, {lbfgs:.0f} with lbfgs"

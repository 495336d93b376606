"""Least squares in closed form: what the iterative solvers are compared with."""

from __future__ import annotations

import numpy as np

from mpigd.comm import Comm
from mpigd.dataset import Dataset
from mpigd.scaling import measure


def closed_form(comm: Comm, data: Dataset) -> tuple[np.ndarray, float]:
    """Coefficients (d,) and intercept of the weighted least-squares fit, from the normal equations.

    The columns are standardised first, which squares the condition number of a far better matrix than X
    (Å. Björck, "Numerical methods for least squares problems", 1996, section 2.2). A collective; one
    message of (d + 1)(d + 2) numbers.
    """
    scaling = measure(comm, data, centre=True)
    d = data.header.d
    x = data.tiles.transpose(0, 2, 1).reshape(-1, d)[: data.rows]
    y, weight = data.flat(data.y), data.weights()
    if data.offset.shape[0]:
        y = y - data.flat(data.offset)
    z = np.column_stack([(x - scaling.mean) / scaling.scale, np.ones(data.rows)])
    sums = comm.sum((z.T * weight) @ np.column_stack([z, y]))
    theta = np.linalg.lstsq(sums[:, :-1], sums[:, -1])[0]
    coef, intercept = scaling.to_columns(theta[:, None], intercept=True)
    return coef[:, 0], float(intercept[0])

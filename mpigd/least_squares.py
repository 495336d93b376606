"""Least squares in closed form: what the iterative solvers are compared with."""

from __future__ import annotations

import numpy as np
from mpigd_kernels import exact

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
    x = data.slice.linear_predictor(np.eye(d), np.zeros(d)) - data.offset[:, None]
    z = np.column_stack([(x - scaling.mean) / scaling.scale, np.ones(data.rows)])
    right = np.column_stack([z, data.y - data.offset[:, None]])
    total = exact.empty(z.shape[1] * right.shape[1])
    for start in range(0, data.rows, data.header.block):  # block by block, so that ranks can't be told apart
        rows = slice(start, start + data.header.block)
        products = np.einsum("n,nj,nk->jk", data.weight[rows], z[rows], right[rows])
        exact.merge(exact.of_blocks(products.reshape(1, -1)), total)
    sums = comm.sum_exactly(total).reshape(z.shape[1], -1)
    theta = np.linalg.lstsq(sums[:, : z.shape[1]], sums[:, z.shape[1] :])[0]
    coef, intercept = scaling.to_columns(theta, intercept=True)
    return coef[:, 0], float(intercept[0])

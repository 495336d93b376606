"""What a loss says of each row by itself: its value and derivatives, by the same code that sums them for a fit."""

from __future__ import annotations

from dataclasses import dataclass

import mpigd_kernels as kernels
import numpy as np

from mpigd import predictor


@dataclass(frozen=True)
class At:
    """A loss with what its functions are called with."""

    loss: kernels.Loss
    parameter: float = 0.0
    smoothing: float = 1.0


@dataclass(frozen=True)
class Rowwise:
    """Of every row and output, float64 (rows, K): value, first and second derivative in eta, not weighted.

    Of softmax the value is in the first output, zero in the others, and `second` holds probabilities p_k: the second
    derivatives are p_k ([k = l] - p_l).
    """

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray


def rowwise(at: At, eta: np.ndarray, y: np.ndarray, tile: int) -> Rowwise:
    """Of rows with predictors eta (rows, K) and y (rows, 1 or K); tile : rows of a tile, as the kernels have it."""
    predictors, target = _tiled(eta, tile), _tiled(y, tile)
    value, first, second = np.empty((3, *predictors.shape))
    for t in range(len(predictors)):
        at.loss.tile(predictors[t], target[t], second[t], value[t], first[t], at.parameter, at.smoothing)
    return Rowwise(*(_flat(each, len(eta)) for each in (value, first, second)))


def expected_curvature(at: At, eta: np.ndarray, tile: int) -> np.ndarray:
    """The mean of the second derivative over y as the loss says that y is distributed, (rows, K).

    It is linear in y, or y is one of two classes, for every loss that is a likelihood.
    """
    if at.loss.target != "binary":
        return rowwise(at, eta, predictor.expected(at.loss.link, eta), tile).second
    one = predictor.expected(at.loss.link, eta)
    zero, unit = (rowwise(at, eta, np.full_like(eta, label), tile).second for label in (0.0, 1.0))
    curvature: np.ndarray = (1.0 - one) * zero + one * unit
    return curvature


def _tiled(values: np.ndarray, tile: int) -> np.ndarray:
    """Values (rows, K) as kernels take them, (tiles, K, tile) float64; what fills the last tile is 1."""
    padded = np.ones((-(-len(values) // tile) * tile, values.shape[1]))
    padded[: len(values)] = values
    return np.ascontiguousarray(padded.reshape(-1, tile, values.shape[1]).transpose(0, 2, 1))


def _flat(tiles: np.ndarray, rows: int) -> np.ndarray:
    """The other way round."""
    return tiles.transpose(0, 2, 1).reshape(-1, tiles.shape[1])[:rows]

"""Arithmetic that every rank does for itself, on arrays that are equal on all ranks, with equal results.

Sums of products are numpy's own, in an order that the shape sets; a BLAS adds up in an order that suits the processor
that it finds, which in one job may differ from node to node.
"""

from __future__ import annotations

import math

import numpy as np
import xxhash


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sums over the first axis of a (d,) or (d, K) times b (d, K): shape (K,)."""
    result: np.ndarray = np.sum(a.reshape(len(a), math.prod(a.shape[1:])) * b, axis=0)
    return result


def norm(a: np.ndarray) -> float:
    """Euclidean norm of an array of any shape."""
    return math.sqrt(float(np.sum(a * a)))


def power(base: float, exponent: int) -> float:
    """A whole power by products alone: a library's last bit depends on the processor. Infinite where it overflows."""
    result = 1.0
    while exponent:
        if exponent % 2:
            result *= base
        base, exponent = base * base, exponent // 2
    return result


def falling(largest: float, count: int) -> list[float]:
    """So many numbers from the largest, above 1, down to 1, evenly in the logarithm, roughly; by products alone."""
    low, high = 1.0, largest
    for _ in range(100):
        ratio = 0.5 * (low + high)
        if power(ratio, count - 1) > largest:
            high = ratio
        else:
            low = ratio
    return [largest, *(power(low, k) for k in range(count - 2, -1, -1))]


def digest(*arrays: np.ndarray) -> int:
    """A number below 2^64 that tells arrays of other bytes apart, by accident not by forgery: XXH3."""
    state = xxhash.xxh3_64()
    for array in arrays:
        state.update(np.ascontiguousarray(array).data)
    return int(state.intdigest())

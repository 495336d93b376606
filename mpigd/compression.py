"""Sums of gradients over ranks in fewer bytes, roughly: for mini-batches on slow networks.

What a rank leaves out of one sum it adds to its next one (error feedback: F. Seide et al., "1-bit stochastic gradient
descent", Interspeech 2014; S. Stich, J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018), so that
nothing is lost for good. Results depend on the number of ranks, each of which rounds by itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from mpigd.comm import Comm

CHUNK = 256  # numbers that share a unit
LARGEST = 127  # units; so many fit in a byte
RANKS_OF_16_BITS = (1 << 15) // (LARGEST + 1)


class Compression(ABC):
    """Sums with a memory of what this rank has not sent yet, (m,) float64; zeros at first."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self.left = np.zeros(0)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over ranks of values (m,) float64, roughly; the same on all ranks. A collective."""
        if len(self.left) != len(values):
            self.left = np.zeros(len(values))
        result, sent = self._send(values + self.left)
        self.left = values + self.left - sent
        return result

    @abstractmethod
    def _send(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What all ranks have sent, added up, and what this one has."""


class EightBits(Compression):
    """Whole numbers of -127 … 127 units, a unit for each 256 numbers: the largest of any rank over 127.

    Two bytes a number travel, so that sums of up to 256 ranks fit; then four.
    """

    def _send(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(0, len(values), CHUNK)
        unit = self._comm.max(np.maximum.reduceat(np.abs(values), starts)) / LARGEST
        units = np.repeat(np.where(unit > 0.0, unit, 1.0), CHUNK)[: len(values)]
        own = np.clip(np.rint(values / units), -LARGEST, LARGEST)
        numbers = own.astype(np.int16 if self._comm.size <= RANKS_OF_16_BITS else np.int32)
        return self._comm.sum(numbers) * units, own * units


class TopShare(Compression):
    """The largest numbers of every rank, a share of all, with their places: twelve bytes each from every rank."""

    def __init__(self, comm: Comm, share: float) -> None:
        super().__init__(comm)
        self._share = share

    def _send(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = max(math.ceil(self._share * len(values)), 1)
        places = np.argsort(-np.abs(values), kind="stable")[:count].astype(np.int32)
        result = np.zeros(len(values))
        for some, numbers in zip(self._comm.each(places), self._comm.each(values[places]), strict=True):
            result[some] += numbers
        sent = np.zeros(len(values))
        sent[places] = values[places]
        return result, sent

"""Penalties: terms of the objective in theta alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class L2:
    """(strength / 2) ||theta||^2, the intercept left out by the caller."""

    strength: float

    def value(self, theta: np.ndarray) -> float:
        """The penalty of coefficients of any shape."""
        return 0.5 * self.strength * float(np.sum(theta * theta))

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Its gradient, same shape as theta."""
        return self.strength * theta

    @property
    def curvature(self) -> float:
        """Largest eigenvalue of its Hessian."""
        return self.strength

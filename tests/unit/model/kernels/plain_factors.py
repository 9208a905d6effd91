"""The factor step as the document states it: float64, loops, no care for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.model.config import ModelConfig


@dataclass
class PlainFactors:
    """Q, b, V1 by item row and P by user, with their accumulators."""

    config: ModelConfig
    q: Any
    q_acc: Any
    b: Any
    b_acc: Any
    v1: Any
    v1_acc: Any
    p: Any
    p_acc: Any

    def query(self, user: int, history: list[int]) -> tuple[Any, list[float]]:
        """Z of a user and the factor of each history row (newest first) in it."""
        gammas = [self.config.decay_short**k for k in range(len(history))]
        norm = np.sqrt(sum(gammas)) if history else 1.0
        weights = [g / norm for g in gammas]
        z = self.p[user] + sum(
            (w * self.v1[h] for w, h in zip(weights, history, strict=True)), np.zeros_like(self.p[user])
        )
        return z, weights

    def step(self, user: int, positive: int, weight: float, history: list[int], negatives: list[int]) -> None:
        """Learn one event."""
        c = self.config
        if not negatives:
            return
        z, weights = self.query(user, history)
        rows = [positive, *negatives]
        logits = np.array([self.b[r] + z @ self.q[r] for r in rows])
        p = np.exp(logits - logits.max())
        p /= p.sum()
        if weight < 0:
            error = p[0] * -weight * c.negative_feedback
            down = error * self.q[positive]
            self._row(positive, error * z, error, c.learning_rate)
            self._adagrad(self.p, self.p_acc, user, down, c.learning_rate)
            return
        p[0] -= 1.0
        dz = sum(e * self.q[r] for e, r in zip(p, rows, strict=True))
        rate = c.learning_rate * weight
        self._row(positive, p[0] * z, p[0], rate)
        for error, row in zip(p[1:], negatives, strict=True):
            if error >= c.write_threshold:
                self._row(row, error * z, error, rate)
        for k, row in enumerate(history[: c.history_rows_written]):
            self._adagrad(self.v1, self.v1_acc, row, weights[k] * dz, rate)
        self._adagrad(self.p, self.p_acc, user, dz, rate)

    def _row(self, row: int, gradient: Any, error: float, rate: float) -> None:
        self._adagrad(self.q, self.q_acc, row, gradient, rate)
        self._adagrad(self.b, self.b_acc, row, error, rate)

    def _adagrad(self, x: Any, acc: Any, row: int, gradient: Any, rate: float) -> None:
        g = gradient + self.config.l2 * x[row]
        acc[row] += np.mean(np.square(g))
        x[row] = x[row] - rate * g / np.sqrt(acc[row])

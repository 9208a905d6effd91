"""The factor step as the document states it: float64, loops, no care for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.model.config import ModelConfig


@dataclass
class PlainFactors:
    """Q, b, V by item row, P by user, and the gates of the two history sums, with their accumulators."""

    config: ModelConfig
    q: Any
    q_acc: Any
    b: Any
    v: Any
    v_acc: Any
    p: Any
    p_acc: Any
    gates: Any
    gates_acc: Any

    def sums(self, history: list[int]) -> tuple[list[Any], list[list[float]]]:
        """The two history sums, and the factor of each history row (newest first) in them."""
        sums, factors = [], []
        for gamma in (self.config.decay_short, self.config.decay_long):
            gammas = [gamma**k for k in range(len(history))]
            norm = np.sqrt(sum(gammas)) if history else 1.0
            weights = [g / norm for g in gammas]
            zero = np.zeros(self.config.dim)
            sums.append(sum((w * self.v[h] for w, h in zip(weights, history, strict=True)), zero))
            factors.append(weights)
        return sums, factors

    def step(self, user: int, positive: int, weight: float, history: list[int], gap: int, negatives: list[int]) -> None:
        """Learn one event."""
        c = self.config
        if not negatives:
            return
        sums, factors = self.sums(history)
        a = self.gates[2 * gap : 2 * gap + 2].copy()
        z = self.p[user] + a[0] * sums[0] + a[1] * sums[1]
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
            self._adagrad(self.v, self.v_acc, row, (a[0] * factors[0][k] + a[1] * factors[1][k]) * dz, rate)
        self._adagrad(self.p, self.p_acc, user, dz, rate)
        if history:
            for i in range(2):
                g = dz @ sums[i]
                self.gates_acc[2 * gap + i] += g * g
                self.gates[2 * gap + i] -= 0.05 * g / np.sqrt(self.gates_acc[2 * gap + i])

    def _row(self, row: int, gradient: Any, error: float, rate: float) -> None:
        self._adagrad(self.q, self.q_acc, row, gradient, rate)
        self.b[row] -= rate * error / np.sqrt(self.q_acc[row])

    def _adagrad(self, x: Any, acc: Any, row: int, gradient: Any, rate: float) -> None:
        g = gradient + self.config.l2 * x[row]
        acc[row] += np.mean(np.square(g))
        x[row] = x[row] - rate * g / np.sqrt(acc[row])

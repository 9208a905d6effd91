"""The whole score as the document states it: candidates, mixture, log-linear sum, and how both are learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.model.experts import CONTEXT, COVISITATION, FACTORS, FEATURES, OWN_HISTORY, POPULARITY, TRANSITION
from tests.unit.model.kernels import plain_experts as experts
from tests.unit.model.kernels.plain_experts import CO_VISITS, Ask
from tests.unit.model.kernels.plain_rows import PlainRows, Vector

SHARES = (
    "popularity 1", "popularity 2", "popularity 3", "popularity 4", "popularity 5", "factors", "co-visitation",
    "transition", "own history", "strictly next", "recent co-visitation", "context",
)  # fmt: skip
"""The mixture, and the expert that a listed item is said to come from."""
CODES = (*[POPULARITY] * 5, FACTORS, COVISITATION, TRANSITION, OWN_HISTORY, TRANSITION, COVISITATION, CONTEXT)
LISTS = (
    "popularity 1", "popularity 2", "popularity 3", "popularity 4", "popularity 5", "context", "co-visitation",
    "cosine", "recent co-visitation", "transition", "recent transition", "own history",
)  # fmt: skip
"""What the experts' lists are ordered by; the factors' list joins at serving."""
NEARLY = 1e-5
"""Relative difference below which float32 may see two values in either order."""


@dataclass
class Evidence:
    """What is known of one candidate."""

    probabilities: dict[str, float]
    """By name, everything that is a probability (or, the cosines, between 0 and 1)."""
    features: dict[str, float]
    """The columns of the log-linear score, without the mixture."""


def all_evidence(rows: PlainRows, ask: Ask, norm: float) -> dict[int, Evidence]:
    """Every expert's word on everything that the user may get; `norm` is the log of the factors' normaliser."""
    z = experts.query_vector(rows, ask)
    return {x: _evidence(rows, ask, x, z, norm) for x in rows.items if ask.may_list(x)}


def _evidence(rows: PlainRows, ask: Ask, x: int, z: Vector, norm: float) -> Evidence:
    p = {f"popularity {j + 1}": share for j, share in enumerate(experts.popularity(rows, ask, x))}
    p["factors"] = experts.factors(rows, x, z, norm)
    p |= experts.covisitation(rows, ask, x)
    p |= experts.transition(rows, ask, x)
    features = {name: math.log(value + (1e-3 if name == "cosine last" else 1e-4)) for name, value in p.items()}
    own, p["own history"] = experts.own_history(ask, x)
    features["context"], p["context"] = experts.context(rows, ask, x)
    return Evidence(p, features | own | experts.content(rows, ask, x))


def mixture(rows: PlainRows, bucket: int, known: Evidence) -> list[float]:
    """pi_e p_e(x) of every expert, pi of the bucket."""
    pi = rows.pi[1 + bucket] / rows.pi[1 + bucket].sum()
    return [float(weight) * known.probabilities[name] for weight, name in zip(pi, SHARES, strict=True)]


def columns(rows: PlainRows, bucket: int, known: Evidence) -> list[float]:
    """The columns of the log-linear score in their order; the mixture's is the last."""
    values = known.features | {"mixture": math.log(sum(mixture(rows, bucket, known)) + 1e-9)}
    return [values[name] for name in FEATURES]


def score(rows: PlainRows, bucket: int, known: Evidence) -> float:
    """(1 + w_m + v_m,b)·log(sum_e pi_b,e p_e(x) + 1e-9) + sum_f (w_f + v_f,b)·phi_f(x)."""
    phi = columns(rows, bucket, known)
    weights = [float(w + v) for w, v in zip(rows.w[0], rows.w[1 + bucket], strict=True)]
    return phi[-1] + sum(weight * value for weight, value in zip(weights, phi, strict=False))


def candidates(known: dict[int, Evidence], ask: Ask, top: int, extra: Sequence[str] = ()) -> tuple[set[int], set[int]]:
    """The union of the lists of the `top` best, of the items that the user may get.

    Returns:
        (items that are surely in it, items that may be): the difference is those that tie at the end of a list.
    """
    surely, perhaps = set(), set()
    for name in (*LISTS, *extra):
        worth = {x: e.probabilities[name] for x, e in known.items() if ask.may_list(x) and e.probabilities[name] > 0}
        ordered = sorted(worth.values(), reverse=True)
        last = ordered[top - 1] if len(ordered) >= top else 0.0
        after = ordered[top] if len(ordered) > top else 0.0
        surely |= {x for x, value in worth.items() if value > after * (1 + NEARLY)}
        perhaps |= {x for x, value in worth.items() if value >= last * (1 - NEARLY)}
    return surely, perhaps


def responsibilities(rows: PlainRows, bucket: int, known: Evidence) -> Vector:
    """How much each expert is to be thanked for the observed item; a hundredth is everybody's."""
    parts = np.array([pi * known.probabilities[name] for pi, name in zip(rows.pi[1 + bucket], SHARES, strict=True)])
    out: Vector = 0.99 * parts / (parts.sum() + 1e-12) + 0.01 / len(SHARES)
    return out


def learned_mixture(rows: PlainRows, bucket: int, known: Evidence) -> Vector:
    """The bucket's sums of responsibilities after an event, scaled back to a memory of 500 events."""
    pi: Vector = rows.pi[1 + bucket] + responsibilities(rows, bucket, known)
    return pi * min(1.0, 500 / float(pi.sum()))


def learned_weights(rows: PlainRows, bucket: int, listed: dict[int, Evidence], chosen: int) -> tuple[Vector, Vector]:
    """(weights, accumulators) of all and of the bucket, [2, columns], after one step of the softmax over candidates.

    The gradient of -log p(chosen) is sum_x p(x) phi(x) - phi(chosen); A += g², w -= rate·g/sqrt(A), and a fifth of
    the rate for the bucket's own.
    """
    items = list(listed)
    phi = np.array([columns(rows, bucket, listed[x]) for x in items])
    scores = np.array([score(rows, bucket, listed[x]) for x in items])
    p = np.exp(scores - scores.max())
    p /= p.sum()
    g = p @ phi - phi[items.index(chosen)]
    n = len(g)
    acc = rows.w_acc[[0, 1 + bucket], :n] + g**2
    rate = rows.config.score_rate * np.array([[1.0], [0.2]])
    return rows.w[[0, 1 + bucket], :n] - rate * g / np.sqrt(acc), acc


@dataclass
class Listed:
    """One item of a finished list."""

    score: float
    """Softmax of the log-linear score over the candidates."""
    mixture: list[float]
    because: list[float]
    """How much each of the user's newest items speaks for it."""


def ranked(rows: PlainRows, ask: Ask, listed: dict[int, Evidence]) -> dict[int, Listed]:
    """All candidates, best first."""
    bucket = experts.bucket_of(ask)
    scores = {x: score(rows, bucket, known) for x, known in listed.items()}
    top = max(scores.values(), default=0.0)
    mass = sum(math.exp(value - top) for value in scores.values())
    return {
        x: Listed(math.exp(scores[x] - top) / mass, mixture(rows, bucket, listed[x]), reasons(rows, ask, x))
        for x in sorted(scores, key=lambda x: -scores[x])
    }


def reasons(rows: PlainRows, ask: Ask, x: int) -> list[float]:
    """0.8^k C[h_k, x] / sum C[h_k], and 1 for the item itself; where there is none of it, each newest item's part of
    z·Q."""
    newest = [h for h, _ in ask.user.history[: rows.config.neighbours_read]]
    out = [0.0] * len(newest)
    for k, h in enumerate(newest):
        near = rows.items[h].near if h in rows.items else None
        if near is not None and x in near.counts:
            out[k] = 0.8**k * near.counts[x][CO_VISITS] / near.sums[CO_VISITS]
        if h == x:
            out[k] = 1.0
    if not any(out):
        weights = experts.gated_weights(rows, ask)
        for k, h in enumerate(newest):
            if h in rows.items:
                out[k] = weights[k] * float(rows.items[h].v @ rows.items[x].q)
    return out

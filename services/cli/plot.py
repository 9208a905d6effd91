"""A learning curve as SVG text, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT, MARGIN = 720, 360, 48
_COLOURS = {"hr": "#1f77b4", "ndcg": "#d62728"}
_NAMES = {"hr": "HR@10", "ndcg": "NDCG@10"}


def learning_curve(points: Sequence[dict[str, Any]]) -> str:
    """HR@10 and NDCG@10 of consecutive stretches over the events.

    >>> learning_curve([{"to": 10, "hr": 0.1, "ndcg": 0.05}, {"to": 20, "hr": 0.2, "ndcg": 0.1}])[:4]
    '<svg'
    """
    last = max(point["to"] for point in points)
    top = max(0.01, *(point["hr"] for point in points)) * 1.1
    inner_x, inner_y = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def at(x: float, y: float) -> str:
        return f"{MARGIN + inner_x * x / last:.1f},{HEIGHT - MARGIN - inner_y * y / top:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for step in range(5):
        value = top * step / 4
        x, y = at(0, value).split(",")
        parts.append(f'<line x1="{x}" y1="{y}" x2="{WIDTH - MARGIN}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y}" text-anchor="end">{value:.2f}</text>')
    for number, (name, colour) in enumerate(_COLOURS.items()):
        line = " ".join(at(point["to"], point[name]) for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{MARGIN + 80 * number}" y="20" fill="{colour}">{_NAMES[name]}</text>')
    parts.append(f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 14}" text-anchor="end">{last:,} events</text></svg>')
    return "\n".join(parts)

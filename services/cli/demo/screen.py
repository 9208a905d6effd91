"""What the demo shows while it runs: a live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.cli.demo.meter import Snapshot
from services.cli.show import count, duration_ms

_PLAIN_EVERY_S = 5.0
_STEPS_SHOWN = 6


@dataclass(slots=True)
class State:
    """All that is shown."""

    title: str = ""
    steps: list[str] = field(default_factory=list)
    progress: float = 0.0
    """Share of the stream that was sent."""
    seconds: float = 0.0
    snapshot: Snapshot = field(default_factory=Snapshot)
    recent: Snapshot = field(default_factory=Snapshot)
    """Freshness of the newest events."""
    lag: dict[str, int] = field(default_factory=dict)
    k: int = 10


class Screen:
    """Shows a state; `step` says what happens now."""

    def __init__(self, console: Console) -> None:
        """On a terminal the screen is live, elsewhere lines are printed."""
        self.state = State()
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def step(self, text: str) -> None:
        """Something begins."""
        self.state.steps.append(text)
        if self._live is None:
            # Without a line of figures: those of the moment are taken before the next `draw`.
            self._console.print(text, markup=False)
        else:
            self.draw()

    def draw(self) -> None:
        """Show the state as it is now."""
        if self._live is not None:
            self._live.update(render(self.state), refresh=True)
        elif self.state.snapshot.events and time.monotonic() - self._said >= _PLAIN_EVERY_S:
            self._said = time.monotonic()
            self._console.print(plain(self.state), markup=False)


def plain(state: State) -> str:
    """The state as one line."""
    now, fresh = state.snapshot, state.recent.freshness_ms
    return (
        f"{state.seconds:4.0f} s  {count(now.events)} events in, {count(now.lists)} lists out, "
        f"freshness p50 {duration_ms(fresh.get('p50'))} p99 {duration_ms(fresh.get('p99'))}, "
        f"hit rate@{state.k} {now.hit_rate:.3f} (popularity {now.popularity_hit_rate:.3f}), "
        f"lag {' '.join(f'{name} {count(lag)}' for name, lag in state.lag.items())}"
    )


def render(state: State) -> Panel:
    """The state as a panel."""
    steps = [
        Text(
            ("· " if number < len(state.steps) - 1 else "→ ") + step,
            style="dim" if number < len(state.steps) - 1 else "",
            # The console's lines are as long as their text; in a panel they must not be.
            no_wrap=False,
            overflow="fold",
        )
        for number, step in enumerate(state.steps)
    ]
    parts: list[Text | ProgressBar | Table] = [*steps[-_STEPS_SHOWN:]]
    now = state.snapshot
    if now.events:
        parts += [
            Text(),
            ProgressBar(total=1.0, completed=state.progress),
            Text(),
            _figures(state),
        ]
    if now.events and state.lag:
        parts += [Text(), _lag(state.lag)]
    return Panel(
        Group(*parts), title=f"streamrec demo: {state.title}" if state.title else "streamrec demo", padding=(1, 2)
    )


def _figures(state: State) -> Table:
    now, fresh = state.snapshot, state.recent.freshness_ms
    lift = now.hit_rate / now.popularity_hit_rate if now.popularity_hit_rate else 0.0
    figures = Table.grid(padding=(0, 3))
    for _ in range(4):
        figures.add_column()
    figures.add_row("events in", f"[bold]{count(now.events)}[/]", "lists out", f"[bold]{count(now.lists)}[/]")
    figures.add_row(
        "freshness p50", f"[bold]{duration_ms(fresh.get('p50'))}[/]", "p99", f"[bold]{duration_ms(fresh.get('p99'))}[/]"
    )
    figures.add_row(
        f"hit rate@{state.k}", f"[bold]{now.hit_rate:.3f}[/]",
        "popularity", f"{now.popularity_hit_rate:.3f}" + (f"  ([green]×{lift:.2f}[/])" if lift else ""),
    )  # fmt: skip
    return figures


def _lag(lag: dict[str, int]) -> Table:
    made = Table.grid(padding=(0, 3))
    names: Sequence[str] = list(lag)
    made.add_row("lag", *names, style="dim")
    made.add_row("", *(count(lag[name]) for name in names))
    return made

"""The events of the benchmark: made-up, seeded, encoded before anything is measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from services.cli.demo.streams import from_files as recorded
from services.contracts.edge import InteractionEvent, Item, codec_for

THEMES = 60
_THEME_NAMES = [f"theme-{number:02d}" for number in range(THEMES)]
_TYPES = ("view", "view", "view", "view", "view", "view", "view", "add-to-cart", "purchase", "rating")
_SPAN_S = 30 * 86_400
_SESSION = 8


@dataclass(slots=True)
class Load:
    """Encoded events, in the order in which they are sent."""

    users: list[str]
    """User id of each event: the key."""
    ids: list[str]
    """Event ids."""
    values: list[bytes]

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, end: int) -> Load:
        """Events [start, end)."""
        return Load(self.users[start:end], self.ids[start:end], self.values[start:end])


def items(count: int) -> list[tuple[bytes, bytes]]:
    """(key, value) of the catalogue's records."""
    codec = codec_for("items")
    made = []
    for number in range(count):
        record: Item = {
            "item_id": f"item-{number:05d}",
            "title": f"The {_THEME_NAMES[number % THEMES]} of {number // THEMES}",
            "categories": [_THEME_NAMES[number % THEMES]],
            "year": 1950 + number % 75,
            "attributes": {},
            "available": True,
            "created_at": None,
        }
        made.append((record["item_id"].encode(), codec.encode(record)))
    return made


def events(seed: int, count: int, users: int, catalogue: int, first: int = 0) -> Load:
    """Events that are all learned from (no impressions): views, carts, purchases and ratings.

    Users come in sessions of about eight events, and choose mostly among the items of three themes each, by a Zipf law.

    Args:
        seed: of every choice.
        count: events.
        users: users that take part, about equally often.
        catalogue: items.
        first: number of the first event: ids and times go on from an earlier part.
    """
    rng = np.random.default_rng([seed, first])
    sessions = -(-count // _SESSION)
    # Eight sessions at a time are interleaved, as visits to a shop are.
    who = np.repeat(rng.integers(0, users, sessions), _SESSION)[:count]
    order = np.argsort(np.arange(count) // (8 * _SESSION) * 1000 + rng.random(count) * 999)
    who = who[order]
    theme = (who * 7 + rng.choice([0, 11, 23], count, p=[0.6, 0.25, 0.15])) % THEMES
    theme = np.where(rng.random(count) < 0.1, rng.integers(0, THEMES, count), theme)
    per_theme = catalogue // THEMES
    rank = np.minimum((per_theme ** rng.random(count)).astype(np.int64), per_theme - 1)
    item = rank * THEMES + theme
    start_ms = time.time_ns() // 1_000_000 - _SPAN_S * 1000
    times = start_ms + (first + np.arange(count)) * 500
    codec = codec_for("interactions")
    load = Load([], [], [])
    kinds = rng.integers(0, len(_TYPES), count)
    for number, (user, thing, kind, moment) in enumerate(
        zip(who.tolist(), item.tolist(), kinds.tolist(), times.tolist(), strict=True), first
    ):
        name = _TYPES[kind]
        record: InteractionEvent = {
            "event_id": f"b-{number}",
            "user_id": f"user-{user:06d}",
            "item_id": f"item-{thing:05d}",
            "type": name,
            "value": 4.0 if name == "rating" else None,
            "event_time": moment,
            "session_id": None,
            "context": {},
            "list_id": None,
        }
        load.users.append(record["user_id"])
        load.ids.append(f"b-{number}")
        load.values.append(codec.encode(record))
    return load


def from_files(events_file: str, items_file: str | None, count: int) -> tuple[list[tuple[bytes, bytes]], Load]:
    """The catalogue and the first events of real data; every event counts as a view, as in the evaluation."""
    stream = recorded(events_file, items_file, count)
    codec, item_codec, load = codec_for("interactions"), codec_for("items"), Load([], [], [])
    for record in stream.events:
        load.users.append(record["user_id"])
        load.ids.append(record["event_id"])
        load.values.append(codec.encode({**record, "type": "view", "value": None}))
    return [(item["item_id"].encode(), item_codec.encode(item)) for item in stream.items], load

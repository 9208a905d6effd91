"""One interaction becomes feature records, and its user's row moves on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from services.contracts.context import context_features
from services.contracts.edge import InteractionEvent
from services.contracts.inner import extraction_state as states
from services.contracts.inner import features
from services.contracts.inner.extraction_state import ExtractionRow, Pending
from services.contracts.inner.features import EventFeature
from services.contracts.keys import item_hash
from services.feature_extraction.attribution import Attributions
from services.feature_extraction.dedup import DedupWindow, event_mark
from services.feature_extraction.impressions import IMPRESSION, Impressions
from services.feature_extraction.items import ItemTable
from services.feature_extraction.preference import Preferences
from services.feature_extraction.session import NO_ID, Sessions
from services.feature_extraction.settings import ExtractionSettings
from services.feature_extraction.timing import DAY_MS, Timing, response_time
from services.feature_extraction.users import User
from services.feature_extraction.weights import Weights, parse_weights

RATING = "rating"
_HOUR_MS = 3_600_000
Fate = Literal["accepted", "dup", "late"]


@dataclass(slots=True)
class Extracted:
    """What became of one interaction."""

    fate: Fate
    records: list[bytes]
    """Encoded feature records in order; the interaction's own is the last."""
    sealed: tuple[int, bytes] | None = None
    """(number, entries) of the window chunk that the interaction filled."""


DUPLICATE = Extracted("dup", [])
LATE = Extracted("late", [])


class Extractor:
    """The features of all kinds, put together."""

    def __init__(self, settings: ExtractionSettings) -> None:
        """Make every part from its settings."""
        self.items = ItemTable()
        self.weights = Weights(parse_weights(settings.event_weights), settings.rating_margin)
        self.window = DedupWindow(settings.dedup_events, settings.dedup_span_s * 1000)
        self.attributions = Attributions(settings.attribution_window_s * 1000, settings.attribution_lists)
        self.timing = Timing(settings.max_future_s * 1000, settings.allowed_lateness_s * 1000)
        self._sessions = Sessions(settings.session_gap_s * 1000)
        self._preferences = Preferences(settings.preference_half_life_days, settings.preference_size)
        self._impressions = Impressions(settings.impression_timeout_s * 1000, settings.impressions_pending)
        self._idle_ms = int(settings.extraction_idle_days * DAY_MS)
        self._exactly_once = settings.delivery == "exactly-once"
        self.epoch = 0

    def new_row(self, partition: int) -> ExtractionRow:
        """The row of a user of whom nothing is known."""
        return {
            "v": states.VERSION,
            "p": partition,
            "o": 0,
            "e": self.epoch,
            "ts": 0,
            "t": 0,
            "n": 0,
            "s": [0, 0, NO_ID],
            "r": [0, 0.0, 0.0],
            "d": b"",
            "dn": 0,
            "pt": 0,
            "pc": [],
            "pw": [],
            "im": [],
        }

    def is_idle(self, row: ExtractionRow, appended_ms: int) -> bool:
        """Whether a row is too old to mean anything, by append time.

        Append time never goes back and no producer sets it: a replay of last year's events forgets nobody.
        """
        return appended_ms - row["ts"] > self._idle_ms

    def interaction(
        self, user: User, row: ExtractionRow, event: InteractionEvent, offset: int, appended_ms: int
    ) -> Extracted:
        """Decide what becomes of an interaction, and make its features.

        Only an accepted interaction changes the row and the user.

        Args:
            user: the rings of the user.
            row: the user's row.
            event: the interaction, of this user.
            offset: its offset in row["p"].
            appended_ms: its append time, Unix ms.

        Raises:
            ValueError: the event makes no sense.
        """
        event_ms = self.timing.event_time(event["event_time"], appended_ms)
        event_id = event["event_id"]
        # An offset below the row's that was not appended after it: read for a second time. (Appended after it, it
        # belongs to a topic that was deleted and made anew.)
        if offset < row["o"] and appended_ms <= row["ts"]:
            return self._again(user, row, event, offset, (event_ms, appended_ms))
        mark = None
        if event_id is not None:
            mark = event_mark(event_id)
            if self.window.offset_of(row, user.sealed, mark) is not None:
                return DUPLICATE
        elif not self._exactly_once:
            # Remembered only so that a second reading is recognised.
            mark = event_mark(f"{row['p']}@{offset}")
        if self.timing.is_late(event_ms, row["t"]):
            return LATE
        extracted = Extracted("accepted", self._features(user, row, event, offset, (event_ms, appended_ms)))
        if mark is not None:
            full = self.window.add(row, mark, event_ms, offset)
            if full is not None:
                user.sealed = self.window.keep(user.sealed, full)
                extracted.sealed = (row["dn"] - 1, full)
        row["t"] = max(row["t"], event_ms)
        row["n"] += 1
        row["o"] = offset + 1
        row["ts"] = appended_ms
        row["e"] = self.epoch
        return extracted

    def time_error(self, event: InteractionEvent, appended_ms: int) -> ValueError:
        """Why the event time of an interaction is refused."""
        try:
            self.timing.event_time(event["event_time"], appended_ms)
        except ValueError as error:
            return error
        raise AssertionError("the event time is right")

    def _again(
        self, user: User, row: ExtractionRow, event: InteractionEvent, offset: int, times: tuple[int, int]
    ) -> Extracted:
        """An interaction that the row includes already.

        Exactly-once, its feature was written in the same transaction as the row: it is a duplicate. At-least-once, the
        row may have been written and the feature lost: an interaction that was accepted is given out again, with the
        row as it is now, and changes nothing.
        """
        if self._exactly_once:
            return DUPLICATE
        event_id = event["event_id"]
        held = None if event_id is None else self.window.offset_of(row, user.sealed, event_mark(event_id))
        if held is not None and held != offset & 0xFFFFFFFF:
            return DUPLICATE
        if self.window.accepted(row, user.sealed, offset) is False:
            return LATE
        scratch = states.decode_row(states.encode(row))
        scratch["im"] = []
        return Extracted("accepted", self._features(user, scratch, event, offset, times))

    def _features(
        self, user: User, row: ExtractionRow, event: InteractionEvent, offset: int, times: tuple[int, int]
    ) -> list[bytes]:
        event_ms, appended_ms = times
        kind, item, value = event["type"], event["item_id"], event["value"]
        ih = item_hash(item)
        content, categories = self.items.content(item)
        session = self._sessions.advance(row, event_ms, event["session_id"])
        preference = features.pack_preference(self._preferences.at(row, event_ms))
        record: EventFeature = {
            "v": features.VERSION,
            "kind": "event",
            "src": [row["p"], offset],
            "user": event["user_id"],
            "item": item,
            "ih": ih,
            "id": event["event_id"] or f"{row['p']}@{offset}",
            "type": kind,
            "value": value,
            "t": event_ms,
            "ts": appended_ms,
            "w": self.weights.of_rating(row, value) if kind == RATING and value is not None else self.weights.of(kind),
            "session": session,
            "ctx": _context(event_ms, event["context"]),
            "content": content,
            "pref": preference,
        }
        list_id = event["list_id"]
        served = None
        if list_id is not None or user.lists:
            served = self.attributions.attribute(user.lists, list_id, ih, response_time(event_ms, appended_ms))
            if served is not None:
                record["list"] = served
        records = []
        if row["im"]:
            if kind != IMPRESSION:
                self._impressions.answer(row, item)
            new_session = session[1] == 0
            done = self._impressions.unanswered(row, event_ms, new_session)
            if self.weights.unanswered:
                records += [self._unanswered(record, pending) for pending in done]
        records.append(features.encode(record))
        if kind == IMPRESSION:
            self._impressions.show(row, item, event_ms, record["id"], served)
        else:
            self._preferences.add(row, categories, record["w"], event_ms)
        return records

    def _unanswered(self, trigger: EventFeature, pending: Pending) -> bytes:
        """The weak negative of an impression, as the event shows that ends the wait for a response."""
        item, event_ms, event_id, served = pending
        record: EventFeature = {
            **trigger,
            "kind": "implied",
            "item": item,
            "ih": item_hash(item),
            "id": event_id,
            "type": IMPRESSION,
            "value": None,
            "t": event_ms,
            "w": self.weights.unanswered,
            "ctx": _context(event_ms, {}),
            "content": self.items.content(item)[0],
        }
        record["list"] = served
        return features.encode(record)


def _context(event_ms: int, context: Mapping[str, str]) -> bytes:
    """The context features as they travel."""
    if context:
        return features.pack_features(context_features(event_ms, context))
    return _context_of_hour(event_ms // _HOUR_MS)


@lru_cache(maxsize=1 << 12)
def _context_of_hour(hour: int) -> bytes:
    """Without a context map, all events of an hour (since 1970, UTC) have the same context features."""
    return features.pack_features(context_features(hour * _HOUR_MS, {}))

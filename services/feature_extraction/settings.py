"""The settings of feature extraction."""

from __future__ import annotations

from pydantic import field_validator

from services.feature_extraction.weights import parse_weights
from services.runtime.settings import RuntimeSettings, setting


class ExtractionSettings(RuntimeSettings):
    """How interactions become features, and what is remembered of a user."""

    max_future_s: int = setting(
        600, "An event time further ahead of the append time than this is replaced by the append time.", unit="s", ge=0
    )
    allowed_lateness_s: int = setting(
        86_400,
        "An event older than its user's newest event by more than this is late: counted, not learned.",
        unit="s",
        ge=0,
    )
    dedup_events: int = setting(
        128,
        "Event ids remembered per user to drop repeats; rounded up to a multiple of 16.",
        unit="events",
        ge=16,
        le=4080,
    )
    dedup_span_s: int = setting(
        604_800, "An event id is a repeat only within this event time of the user's newest event.", unit="s", ge=1
    )
    session_gap_s: int = setting(1800, "Inactivity that ends a session of events without a session id.", unit="s", ge=1)
    preference_half_life_days: float = setting(
        30.0, "Event time in which a category preference halves.", unit="days", gt=0, le=36_500
    )
    preference_size: int = setting(10, "Categories remembered per user.", unit="categories", ge=1, le=100)
    attribution_window_s: int = setting(
        3600, "An event without list id responds to a list served at most this long before.", unit="s", ge=0
    )
    attribution_lists: int = setting(
        3, "Served lists remembered per user; 0 attributes nothing.", unit="lists", ge=0, le=255
    )
    impression_timeout_s: int = setting(
        600, "An impression unanswered this long, or at the session's end, becomes a weak negative.", unit="s", ge=0
    )
    impressions_pending: int = setting(
        20, "Unanswered impressions remembered per user; the oldest are forgotten.", unit="impressions", ge=0, le=1000
    )
    event_weights: str = setting(
        "", "Learning weights that differ from the defaults, type=weight, comma-separated, e.g. view=0.5,purchase=2."
    )
    rating_margin: float = setting(
        2.0, "A rating this far below its user's mean counts as rating-low.", unit="standard deviations", gt=0, le=1000
    )
    extraction_max_users: int = setting(
        1_000_000,
        "Users remembered, over all partitions; the least recently active are forgotten first.",
        unit="users",
        ge=1,
        le=100_000_000,
    )
    extraction_idle_days: float = setting(
        180.0, "A user without an event for this long (append time) is forgotten.", unit="days", gt=0, le=36_500
    )

    @field_validator("event_weights")
    @classmethod
    def _weights_parse(cls, value: str) -> str:
        parse_weights(value)
        return value

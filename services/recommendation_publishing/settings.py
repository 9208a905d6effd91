"""The settings of recommendation publishing."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from services.recommendation_publishing.arms import Arms
from services.runtime.settings import RuntimeSettings, setting


class PublishingSettings(RuntimeSettings):
    """What is recommended, how much of it, and how often."""

    list_size: int = setting(20, "Items in a list that an event or a refresh publishes.", unit="items", ge=1, le=1000)
    request_max_size: int = setting(
        200, "Largest list that a request may ask for; more is cut to this.", unit="items", ge=1, le=10_000
    )
    publish_interval_ms: int = setting(
        500, "At most one list per user in this time; requests are always answered.", unit="ms", ge=0
    )
    publish_max_lists_per_s: int = setting(
        5000,
        "Event lists a replica publishes per second; under more load a list covers more events.",
        unit="lists/s",
        ge=1,
    )
    refresh_after_s: int = setting(0, "Publish a user's list again when it is this old; 0 never does.", unit="s", ge=0)
    exclude_seen: bool = setting(True, "Leave out the items that the user has interacted with.")
    catalogue: Literal["auto", "required", "ignored"] = setting(
        "auto",
        "Recommend only what the items topic lists: required, ignored, or auto (as soon as it lists anything).",
    )
    new_item_every: int = setting(
        20,
        "One place in so many goes to an item that nobody has touched, where one fits the user's taste; 0 gives none.",
        unit="places",
        ge=0,
    )
    explore_share: float = setting(
        0.0,
        "Share of list positions given to an item from below the list, with its propensity.",
        unit="0..1",
        ge=0.0,
        le=0.5,
    )
    explore_pool: int = setting(50, "Items below the list that exploration draws from.", unit="items", ge=1, le=1000)
    experiment: str = setting("", "Name of the running experiment; part of the hash that assigns users to arms.")
    experiment_arms: str = setting(
        "control=1", "Arms and their shares, name=weight, comma-separated; lists carry the arm of their user."
    )
    quality_sample: float = setting(
        0.02,
        "Share of events on which lists are judged before they are learned; 0 turns live quality off.",
        unit="0..1",
        ge=0.0,
        le=1.0,
    )
    quality_interval_s: int = setting(60, "Time between two reports of live quality.", unit="s", ge=1)
    quality_frozen_h: float = setting(
        24.0,
        "Age at which the frozen shadow is taken anew; it holds the item rows a second time; 0 has none.",
        unit="h",
        ge=0.0,
        le=876_000.0,
    )

    @field_validator("experiment_arms")
    @classmethod
    def _arms_parse(cls, value: str) -> str:
        Arms.parse("", value)
        return value

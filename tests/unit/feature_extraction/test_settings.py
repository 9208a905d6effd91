from __future__ import annotations

import pytest

from services.feature_extraction.settings import ExtractionSettings
from services.runtime.settings import SettingsError


def test_a_wrong_weight_table_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad weight is an error that says which variable to mend."""
    monkeypatch.setenv("STREAMREC_EVENT_WEIGHTS", "view=lots")
    with pytest.raises(SettingsError, match="STREAMREC_EVENT_WEIGHTS"):
        ExtractionSettings.load()


def test_weights_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good table is taken as it is."""
    monkeypatch.setenv("STREAMREC_EVENT_WEIGHTS", "view=0.5")
    assert ExtractionSettings.load().event_weights == "view=0.5"

"""How soon shards exchange rows while a model is young."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.model.young import GROWN_EVENTS, exchange_after


@given(st.floats(0, 2 * GROWN_EVENTS), st.floats(0, 2 * GROWN_EVENTS))
def test_exchanges_become_rarer_with_age(one: float, other: float) -> None:
    """An exchange comes after at least 100 events, the later the more was learned, and freely from 1,000 on."""
    younger, older = sorted((one, other))
    before, after = exchange_after(younger), exchange_after(older)
    if older >= GROWN_EVENTS:
        assert after is None
    else:
        assert before is not None
        assert after is not None
        assert 100 <= before <= after < 1000
        assert before <= max(100, younger / 16)

"""Misspelled settings: environment variables that look like ours and that nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

_PREFIX = "STREAMREC_"
_ELSEWHERE = frozenset(("STREAMREC_CLUSTER_ID",))
"""Read by docker-compose.yml alone."""
_FOR_TESTS = _PREFIX + "TEST_"


def unknown_variables(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with each environment variable that has our prefix and that no command reads."""
    ours = sorted(name for name in names if name.startswith(_PREFIX) and not name.startswith(_FOR_TESTS))
    if not ours:
        return
    # The tables of all services are imported only where there is a variable to look up in them.
    from services.broker.settings import BrokerSettings
    from services.cli.run import SERVICES, settings_of
    from services.runtime.client import PASSTHROUGH
    from services.runtime.settings import Settings, rows

    tables: list[type[Settings]] = [BrokerSettings, *(settings_of(service) for service in SERVICES)]
    known = {row.env for table in tables for row in rows(table)}
    stems = [env.removeprefix(_PREFIX) for env in sorted(known)]
    for name in ours:
        if name not in known | _ELSEWHERE and not name.startswith(PASSTHROUGH):
            # Without the prefix, which would make any two names alike.
            close = get_close_matches(name.removeprefix(_PREFIX), stems, n=1)
            hint = f"; did you mean {_PREFIX}{close[0]}?" if close else ""
            yield f"{name} is no setting and has no effect{hint}"

"""The lines that librdkafka writes of itself, as events of our log."""

from __future__ import annotations

import contextlib
import logging

from services.runtime.log import Log


class Lines:
    """What confluent_kafka takes as the `logger` of a client.

    Librdkafka's threads put their lines into a queue, and they are told inside the calls that serve callbacks (`poll`,
    `consume`, `close`, a commit's flush), on the caller's thread. What a client says after it was given up is not told.
    """

    def __init__(self, log: Log) -> None:
        """`log`: of the loop that the client belongs to."""
        self._log = log

    def log(self, level: int, _format: str, facility: str, client: str, line: str) -> None:
        """Tell one line; `level` is one of Python's.

        At most a warning: what is fatal to a client is not so to the service. It judges the error that comes with it,
        and goes on with new clients or says with an error of its own why it ends.
        """
        say = {logging.DEBUG: self._log.debug, logging.INFO: self._log.info}.get(level, self._log.warning)
        # Whatever is wrong with the log: out of a callback it would end the call that served it.
        with contextlib.suppress(Exception):
            say("kafka.line", facility=facility, client=client, line=line)

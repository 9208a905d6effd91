"""The error of a bad edge record: names the record, the field and the problem."""

from __future__ import annotations


class EdgeRecordError(ValueError):
    """An edge record cannot be decoded, encoded or validated.

    Attributes:
        record: name of the record, e.g. "InteractionEvent".
        field: path of the field, e.g. "items[2].score"; empty when no field is to blame.
        problem: what is wrong and, where there is one, what to do.
    """

    def __init__(self, record: str, field: str, problem: str) -> None:
        """Compose the message from its parts."""
        super().__init__(f"{record}.{field}: {problem}" if field else f"{record}: {problem}")
        self.record = record
        self.field = field
        self.problem = problem

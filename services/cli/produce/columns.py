"""From a file's columns to edge records: which column is which field, under the names that files use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.cli.produce import values
from services.cli.produce.values import Parse


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of one kind of record in files."""

    record: str
    topic: str
    key: str
    """Field that is the Kafka key."""
    required: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]]
    """{field: other names of its column}, compared without case, spaces and underscores."""
    parsers: dict[str, Parse]
    times: tuple[str, ...]
    maps: tuple[str, ...]
    """Fields that are maps: a column "context.device" is the entry "device" of the field "context"."""
    blank: dict[str, Any] = field(default_factory=dict)
    """The record with every field at its default."""


EVENTS = Shape(
    record="InteractionEvent",
    topic="interactions",
    key="user_id",
    required=("user_id", "item_id"),
    aliases={
        "user_id": ("user", "customer_id", "customer", "visitor_id", "visitor", "member_id", "uid"),
        "item_id": ("item", "product_id", "product", "movie_id", "article_id", "track_id", "stock_code", "sku", "iid"),
        "type": ("event_type", "event", "action", "interaction", "interaction_type", "behavior", "behaviour"),
        "value": ("rating", "score", "stars", "quantity", "amount", "strength"),
        "event_time": (
            "timestamp_ms", "timestamp_s", "timestamp", "time", "ts", "event_time_ms", "event_timestamp", "datetime",
            "date", "created_at",
        ),
        "event_id": ("event_uuid",),
        "session_id": ("session", "visit_id"),
        "list_id": ("recommendation_id",),
        "context": (),
    },
    parsers={
        "user_id": values.text,
        "item_id": values.text,
        "type": lambda value: values.optional_text(value) or "",
        "value": values.number,
        "event_id": values.optional_text,
        "session_id": values.optional_text,
        "list_id": values.optional_text,
        "context": values.mapping,
    },
    times=("event_time",),
    maps=("context",),
    blank={
        "event_id": None, "user_id": "", "item_id": "", "type": "", "value": None, "event_time": None,
        "session_id": None, "context": {}, "list_id": None,
    },
)  # fmt: skip

ITEMS = Shape(
    record="Item",
    topic="items",
    key="item_id",
    required=("item_id",),
    aliases={
        "item_id": ("item", "product_id", "product", "movie_id", "article_id", "track_id", "stock_code", "sku", "id"),
        "title": ("name", "item_title", "product_name", "description"),
        "categories": ("category", "genres", "genre", "tags"),
        "year": ("release_year",),
        "attributes": (),
        "available": ("in_stock", "is_available"),
        "created_at": ("created_at_ms", "created", "added_at", "timestamp_ms", "timestamp"),
    },
    parsers={
        "item_id": values.text,
        "title": lambda value: values.optional_text(value) or "",
        "categories": values.names,
        "year": values.whole,
        "attributes": values.mapping,
        "available": values.truth,
    },
    times=("created_at",),
    maps=("attributes",),
    blank={
        "item_id": "", "title": "", "categories": [], "year": None, "attributes": {}, "available": True,
        "created_at": None,
    },
)  # fmt: skip

_Slot = tuple[Any, str, str, Parse]
"""(where in the row, its column name, field or field.entry, parser)."""


class Mapper:
    """Makes records of the rows of one file.

    Raises:
        ValueError: a required column is missing, or a chosen column does not exist.
    """

    def __init__(self, shape: Shape, columns: Sequence[str], chosen: Mapping[str, str] | None = None) -> None:
        """Match the columns.

        Args:
            shape: what the rows are.
            columns: names of the columns, in order.
            chosen: {field: column} that wins over the known names.
        """
        self.shape = shape
        self.columns = tuple(columns)
        self.fields = match(shape, columns, chosen or {})
        self.unused = [name for name in columns if name not in set(self.fields.values())]
        self._slots = [
            (columns.index(name), name, field, self._parser(field, name)) for field, name in self.fields.items()
        ]

    def record(self, row: Sequence[Any]) -> dict[str, Any]:
        """The record of one row, one cell per column; raises ValueError naming the column that is wrong."""
        if len(row) != len(self.columns):
            raise ValueError(f"has {len(row)} columns where the header has {len(self.columns)}")
        record = dict(self.shape.blank)
        for index, name, target, parse in self._slots:
            try:
                value = parse(row[index])
            except ValueError as error:
                raise ValueError(f"column {name}: {error}") from None
            if "." in target:
                _put_entry(record, target, value)
            else:
                record[target] = value
        return record

    def _parser(self, target: str, column: str) -> Parse:
        if "." in target:
            return values.optional_text
        return values.time_parser(column) if target in self.shape.times else self.shape.parsers[target]


def match(shape: Shape, columns: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """As `known`, for a whole record.

    Raises:
        ValueError: a required field has no column, or a chosen column or field does not exist.
    """
    fields = known(shape, columns, chosen)
    missing = [target for target in shape.required if target not in fields]
    if missing:
        target = missing[0]
        raise ValueError(
            f"no column for {target} among {', '.join(columns)}; known names are "
            f"{', '.join((target, *shape.aliases[target]))}, and --column {target}=NAME names another"
        )
    return fields


def known(shape: Shape, columns: Iterable[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """{field: column} for the columns that are known; a field's own name wins over its aliases.

    Raises:
        ValueError: a chosen column or field does not exist.
    """
    present = list(columns)
    folded = {fold(name): name for name in reversed(present)}
    fields: dict[str, str] = {}
    for target, name in chosen.items():
        if target not in shape.aliases:
            raise ValueError(f"{shape.record} has no field {target!r}; it has {', '.join(shape.aliases)}")
        if name not in present:
            raise ValueError(f"there is no column {name!r}; there are {', '.join(present)}")
        fields[target] = name
    for target, aliases in shape.aliases.items():
        taken = set(fields.values())
        for candidate in (target, *aliases):
            found = folded.get(fold(candidate))
            if target not in fields and found is not None and found not in taken:
                fields[target] = found
    for name in present:
        whole, _, entry = name.partition(".")
        if entry and whole in shape.maps:
            fields[name] = name
    return fields


def fold(name: str) -> str:
    """A column name without case, spaces, dashes and underscores."""
    return "".join(letter for letter in name.lower() if letter not in " _-")


def object_mapper(
    shape: Shape, chosen: Mapping[str, str] | None = None
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Records of JSON objects, whose keys may differ from line to line."""
    known: dict[tuple[str, ...], Mapper] = {}

    def record(row: Mapping[str, Any]) -> dict[str, Any]:
        keys = tuple(row)
        mapper = known.get(keys)
        if mapper is None:
            present = {target: name for target, name in (chosen or {}).items() if name in row}
            mapper = known[keys] = Mapper(shape, keys, present)
        return mapper.record(list(row.values()))

    return record


def _put_entry(record: dict[str, Any], target: str, value: str | None) -> None:
    if value is None:
        return
    whole, _, entry = target.partition(".")
    record[whole] = {**record[whole], entry: value}

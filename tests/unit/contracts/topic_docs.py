"""`python -m tests.unit.contracts.topic_docs` writes the tables of docs/topics.md anew from the topic table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.contracts import topics

PAGE = Path(__file__).resolve().parents[3] / "docs" / "topics.md"
BEGIN, END = "<!-- made by tests.unit.contracts.topic_docs: {} -->", "<!-- end -->"


def topic_lines() -> Iterator[str]:
    """The table of topics."""
    yield "| topic | key | value | cleanup | partitions | kept | written by → read by |"
    yield "|---|---|---|---|---|---|---|"
    for line in topics.TOPICS:
        kept = "for ever" if line.retention_ms is None else f"{line.retention_ms // topics.DAY_MS} d"
        count = {"user": "`user_partitions`", "item": "`item_partitions`", "none": "1"}[line.partitioned_by]
        route = f"{', '.join(line.written_by)} → {', '.join(line.read_by)}"
        yield f"| {line.name} | {line.key} | {line.value} | {line.cleanup} | {count} | {kept} | {route} |"


def config_lines() -> Iterator[str]:
    """The table of topic configurations beside cleanup, timestamps and retention."""
    yield "| topic | configuration |"
    yield "|---|---|"
    for line in topics.TOPICS:
        if line.configs:
            yield f"| {line.name} | {', '.join(f'`{key}={value}`' for key, value in line.configs.items())} |"


def access_lines() -> Iterator[str]:
    """The table of access per service."""
    yield "| service | read | write |"
    yield "|---|---|---|"
    for service in topics.SERVICES:
        reads = [name for name, kind in topics.access(service) if kind == "read"]
        writes = [name for name, kind in topics.access(service) if kind == "write"]
        yield f"| {service} | {', '.join(reads)} | {', '.join(writes)} |"


def rendered(page: str) -> str:
    """The page with its tables made anew."""
    for name, lines in (("topics", topic_lines), ("configs", config_lines), ("access", access_lines)):
        begin = BEGIN.format(name)
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(END)
        page = head + "\n".join([begin, "", *lines(), "", END]) + tail
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text("utf-8")), "utf-8")

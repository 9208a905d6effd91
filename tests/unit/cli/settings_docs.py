"""`python -m tests.unit.cli.settings_docs` writes the README's configuration table anew from the settings tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.broker.settings import BrokerSettings
from services.feature_extraction.settings import ExtractionSettings
from services.model_update.settings import ModelUpdateSettings
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.settings import KafkaSettings, RuntimeSettings, Settings, rows

PAGE = Path(__file__).resolve().parents[3] / "README.md"
BEGIN, END = "<!-- made by tests.unit.cli.settings_docs -->", "<!-- end -->"

TABLES: tuple[tuple[str, type[Settings]], ...] = (
    ("Every command", KafkaSettings),
    ("Every service", RuntimeSettings),
    ("feature-extraction", ExtractionSettings),
    ("model-update", ModelUpdateSettings),
    ("recommendation-publishing", PublishingSettings),
    ("broker", BrokerSettings),
)


def table_lines() -> Iterator[str]:
    """The configuration table: one part per settings table, each setting once."""
    said: set[str] = set()
    for title, table in TABLES:
        yield f"<details><summary>{title}</summary>"
        yield ""
        yield "| variable | default | unit | |"
        yield "|---|---|---|---|"
        for row in rows(table):
            if row.name not in said:
                said.add(row.name)
                default = f"`{row.default}`" if row.default else ""
                yield f"| `{row.env}` | {default} | {row.unit} | {_plain(row.doc)} |"
        yield ""
        yield "</details>"
        yield ""


def _plain(text: str) -> str:
    """Text as a cell of a Markdown table shows it."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def rendered(page: str) -> str:
    """The page with its table made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "\n".join([head + BEGIN, "", *table_lines(), END + tail])


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text("utf-8")), "utf-8")

"""How far a file has been sent into a topic: one small JSON file, written atomically."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path


@dataclass(slots=True)
class Position:
    """Rows of a file that Kafka has acknowledged."""

    rows: int = 0
    """Rows read, bad ones included."""
    sent: int = 0
    """Records acknowledged."""


class PositionFile:
    """Where the position of one (file, cluster, topic) is kept."""

    def __init__(self, folder: Path, identity: str, cluster: str, topic: str) -> None:
        """`identity` is the content's; a file that has changed has another and starts anew."""
        mark = blake2b(f"{identity}\0{cluster}\0{topic}".encode(), digest_size=8).hexdigest()
        self.path = folder.expanduser() / "produce" / f"{mark}.json"
        self._about = {"file": identity, "cluster": cluster, "topic": topic}

    def load(self) -> Position:
        """The saved position; the start when there is none or it cannot be read."""
        try:
            saved = json.loads(self.path.read_text("utf-8"))
            return Position(int(saved["rows"]), int(saved["sent"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Position()

    def save(self, position: Position) -> None:
        """Write the position; after a crash the file holds the old or the new one.

        Raises:
            OSError: the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".tmp")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({**self._about, **asdict(position)}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

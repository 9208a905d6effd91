"""Checkpoints: whole and fitting, or refused and wiped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.checkpoint import CheckpointStore
from services.runtime.log import logger

LIMITS = {"state": (0, 100)}
ROWS = [("state", b"key%d" % number, b"value%d" % number) for number in range(2500)]


def _store(folder: Path, cluster: str = "c1", topic_id: str = "t1") -> CheckpointStore:
    return CheckpointStore(folder, cluster, {"state": topic_id}, logger())


def _all(store: CheckpointStore, limits: dict[str, tuple[int, int]] | None = None) -> list[tuple[str, bytes, bytes]]:
    stored = store.open(3, limits or LIMITS)
    assert stored is not None
    found: list[tuple[str, bytes, bytes]] = []
    while True:
        topic, records = stored.take(1000)
        if not records:
            stored.close()
            return found
        found += [(topic, *record) for record in records]


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    """All records come back, in chunks of one topic, with the offset at which the topic goes on."""
    store = _store(tmp_path)
    assert store.save(3, {"state": 42}, ROWS, 10)
    assert _all(store) == ROWS
    stored = store.open(3, LIMITS)
    assert stored is not None
    assert stored.offsets == {"state": 42}
    stored.close()
    assert store.open(4, LIMITS) is None


def test_two_topics(tmp_path: Path) -> None:
    """Records of several state topics keep their topic."""
    store = CheckpointStore(tmp_path, "c", {}, logger())
    rows = [("a", b"1", b"x"), ("b", b"1", b"y"), ("b", b"2", b"z")]
    assert store.save(3, {"a": 1, "b": 2}, rows, 10)
    assert _all(store, {"a": (0, 5), "b": (0, 5)}) == rows


@pytest.mark.parametrize(
    ("store", "limits"),
    [
        ({"cluster": "c2"}, LIMITS),
        ({"topic_id": "t2"}, LIMITS),
        ({}, {"state": (0, 41)}),
        ({}, {"state": (43, 100)}),
        ({}, {"state": (0, 100), "other": (0, 0)}),
        ({}, {"other": (0, 100)}),
    ],
)
def test_what_does_not_fit_is_wiped(tmp_path: Path, store: dict[str, str], limits: dict[str, tuple[int, int]]) -> None:
    """Another cluster, a topic made anew, an offset outside the log, other topics: refused and removed."""
    assert _store(tmp_path).save(3, {"state": 42}, ROWS, 10)
    assert _store(tmp_path, **store).open(3, limits) is None
    assert not list(tmp_path.iterdir())


@given(st.data())
def test_no_damage_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever byte is changed or wherever the file is cut, it is refused."""
    folder = tmp_path_factory.mktemp("checkpoint")
    store = _store(folder)
    assert store.save(3, {"state": 42}, ROWS[:20], 10)
    path = store.path(3)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    assert store.open(3, LIMITS) is None
    assert not path.exists()


def test_out_of_time_keeps_the_old_one(tmp_path: Path) -> None:
    """A checkpoint that takes too long is given up, and the one before it stays."""
    store = _store(tmp_path)
    assert store.save(3, {"state": 42}, ROWS, 10)
    assert not store.save(3, {"state": 50}, ROWS[:1000], -1)
    assert _all(store) == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["3.checkpoint"]


def test_a_full_disk_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk takes no more, the service hears of it and goes on."""

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    store = _store(tmp_path)
    assert not store.save(3, {"state": 42}, ROWS, 10)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A state folder that is a file is an error of the checkpoint only."""
    (tmp_path / "file").write_text("x")
    assert not _store(tmp_path / "file").save(3, {"state": 42}, ROWS, 10)

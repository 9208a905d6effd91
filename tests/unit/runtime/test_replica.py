"""Replica names: stable, one holder each, with epochs that never go back."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.runtime.replica import Replica
from services.runtime.settings import SettingsError


def test_slots_are_taken_in_turn_and_given_back(tmp_path: Path) -> None:
    """Replicas on one machine get different names; a restart gets the name that is free."""
    first, second = Replica.take(tmp_path, "svc"), Replica.take(tmp_path, "svc")
    assert first.instance != second.instance
    name = first.instance
    first.release()
    again = Replica.take(tmp_path, "svc")
    assert again.instance == name
    again.release()
    second.release()


def test_a_configured_name_has_one_holder(tmp_path: Path) -> None:
    """The same name twice on one machine is a clear error, for another service it is fine."""
    held = Replica.take(tmp_path, "svc", "a")
    with pytest.raises(SettingsError, match="STREAMREC_INSTANCE"):
        Replica.take(tmp_path, "svc", "a")
    Replica.take(tmp_path, "other", "a").release()
    held.release()


def test_epochs_grow_though_the_clock_goes_back(tmp_path: Path) -> None:
    """Also over a restart."""
    replica = Replica.take(tmp_path, "svc", "a")
    clock = iter((100, 100, 50, 200))
    assert [replica.next_epoch(lambda: next(clock)) for _ in range(4)] == [100, 101, 102, 200]
    replica.release()
    again = Replica.take(tmp_path, "svc", "a")
    assert again.next_epoch(lambda: 7) == 201
    again.release()


def test_loops_of_a_process_draw_epochs_at_the_same_time(tmp_path: Path) -> None:
    """Every epoch is given once, and what the file holds afterwards is the largest."""
    replica = Replica.take(tmp_path, "svc", "a")
    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(lambda _: replica.next_epoch(lambda: 100), range(400)))
    assert sorted(epochs) == list(range(100, 500))
    replica.release()
    assert (tmp_path / "svc" / "a" / "lock").read_text() == "499"


def test_a_damaged_epoch_file_is_no_epoch(tmp_path: Path) -> None:
    """What is not a number that fits into 64 bits is ignored; the clock takes over."""
    replica = Replica.take(tmp_path, "svc", "a")
    replica.release()
    (tmp_path / "svc" / "a" / "lock").write_text("17956018550161795601855018")
    again = Replica.take(tmp_path, "svc", "a")
    assert again.next_epoch(lambda: 7) == 7
    again.release()


def test_a_full_disk_costs_the_note_of_the_epoch_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log names the file, epochs go on, the last noted epoch stays, and the name is given up without an error."""
    replica = Replica.take(tmp_path, "svc", "a")
    assert replica.next_epoch(lambda: 100) == 100

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(os, "pwrite", full)
        assert [replica.next_epoch(lambda: 100) for _ in range(2)] == [101, 102]
        replica.release()
    assert [(line["event"], line["path"]) for line in logs] == [
        ("epoch.not_noted", str(tmp_path / "svc" / "a" / "lock"))
    ] * 2
    again = Replica.take(tmp_path, "svc", "a")
    assert again.next_epoch(lambda: 7) == 101
    again.release()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the setting."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="state_dir"):
        Replica.take(tmp_path / "file", "svc")

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from services.broker.broker import check_port, free_port
from services.broker.errors import DataFolderError
from services.broker.storage import MARKER, DataFolder, read_properties
from services.broker.version import KAFKA_VERSION


def _formatted(folder: Path, version: str = KAFKA_VERSION, cluster: str = "c", found: str = "c") -> DataFolder:
    """A folder as Kafka's formatting tool and the marker leave it."""
    data = folder / "data"
    data.mkdir(parents=True)
    (data / MARKER).write_text(json.dumps({"kafka_version": version, "cluster_id": cluster}))
    (data / "meta.properties").write_text(f"#\nversion=1\ncluster.id={found}\nnode.id=1\n")
    return DataFolder(folder)


def test_new_folder_is_made_and_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that does not exist is made; while it is held nobody else gets it."""
    monkeypatch.setattr("services.broker.storage._DYING_S", 0.1)
    first, second = DataFolder(tmp_path / "a" / "b"), DataFolder(tmp_path / "a" / "b")
    first.open()
    with pytest.raises(DataFolderError, match="already running"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_folder_that_is_being_given_back_is_waited_for(tmp_path: Path) -> None:
    """Java that is still dying holds the folder of a killed broker for a moment; the next broker gets it."""
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.open()
    dying = threading.Timer(0.3, first.close)
    dying.start()
    second.open()
    second.close()
    dying.join()


def test_own_folder_is_opened_again(tmp_path: Path) -> None:
    """A folder of this version and cluster is accepted."""
    folder = _formatted(tmp_path)
    folder.open()
    assert folder.cluster_id() == "c"
    folder.close()


def test_nothing_is_written_to_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    """A folder of somebody else's files is refused before anything is made in it."""
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataFolderError, match=r"not made by .* it holds letter\.txt"):
        DataFolder(tmp_path).open()
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("folder", "match"),
    [({"version": "4.0.0"}, "formatted by Kafka 4.0.0"), ({"found": "other"}, "belongs to the Kafka cluster other")],
)
def test_foreign_folder_is_refused(tmp_path: Path, folder: dict[str, str], match: str) -> None:
    """Another version or cluster is named in the error, and the lock is given back."""
    held = _formatted(tmp_path, **folder)
    with pytest.raises(DataFolderError, match=match):
        held.open()
    assert held.lock_fd == -1


@pytest.mark.parametrize("content", [None, "not json", "[]"])
def test_folder_without_a_marker_is_refused(tmp_path: Path, content: str | None) -> None:
    """A Kafka storage that somebody else made is left alone."""
    (tmp_path / "data").mkdir()
    if content is not None:
        (tmp_path / "data" / MARKER).write_text(content)
    with pytest.raises(DataFolderError, match="not made by"):
        DataFolder(tmp_path).open()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that cannot be a folder is named, with the setting that changes it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="STREAMREC_BROKER_DATA_DIR"):
        DataFolder(tmp_path / "file" / "broker").open()


def test_properties_are_filled_in(tmp_path: Path) -> None:
    """The template becomes a file without place-holders, for the ports and the folder given."""
    folder = DataFolder(tmp_path)
    folder.write_properties(1234, 5678)
    read = read_properties(folder.properties)
    assert read["listeners"] == "PLAINTEXT://127.0.0.1:1234,CONTROLLER://127.0.0.1:5678"
    assert read["log.dirs"] == str(tmp_path / "data")
    assert "$" not in folder.properties.read_text()


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    """No listener of the template has another address than 127.0.0.1."""
    folder = DataFolder(tmp_path)
    folder.write_properties(1, 2)
    read = read_properties(folder.properties)
    for name in ("listeners", "advertised.listeners"):
        assert all("://127.0.0.1:" in each for each in read[name].split(","))


def test_free_port_can_be_taken() -> None:
    """A port that is said to be free passes the check."""
    check_port(free_port())


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    """A folder that cannot be made or written, by whomever, is an error that names it."""
    (tmp_path / "taken").write_text("not a folder")
    with pytest.raises(DataFolderError, match=r"cannot write .*taken"):
        DataFolder(tmp_path / "taken" / "broker").open()

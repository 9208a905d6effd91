"""The data folder of the local broker: its lock, its formatting, and whose it is.

DIR/broker.lock         held while a broker runs, by this process and by Java
DIR/server.properties   written at every start from deploy/kafka/server.properties
DIR/kafka.log           Kafka's log file
DIR/data/               Kafka's storage, with `streamrec-broker.json` that says who formatted it
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import string
import subprocess
import time
import uuid
from pathlib import Path

from services.broker.errors import DataFolderError
from services.broker.jars import deploy_folder
from services.broker.java import Java
from services.broker.version import KAFKA_VERSION

MARKER = "streamrec-broker.json"
_LOCK = "broker.lock"
_FORMAT_TIMEOUT_S = 120
_DYING_S, _LOOK_S = 5.0, 0.05
"""How long a folder may be in use by the Java of a broker that was killed, which holds it until it is gone."""


class DataFolder:
    """One data folder; `open` checks and locks it, `close` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.lock_fd = -1
        """Open and locked while this object holds the folder; Java inherits it."""

    @property
    def data(self) -> Path:
        """Kafka's storage."""
        return self.path / "data"

    @property
    def log_file(self) -> Path:
        """Kafka's log file."""
        return self.path / "kafka.log"

    @property
    def java_log_file(self) -> Path:
        """What Java itself says, before and beside Kafka's log."""
        return self.path / "java.log"

    @property
    def properties(self) -> Path:
        """The generated server.properties."""
        return self.path / "server.properties"

    def open(self) -> None:
        """Make the folder, lock it and check that what is in it is ours.

        Raises:
            DataFolderError: not writable, in use, or of another Kafka version or cluster.
        """
        self._refuse_foreign()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock_fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataFolderError(
                f"cannot write the broker's data folder {self.path}: {error.strerror}. "
                "Choose another with --data-dir (STREAMREC_BROKER_DATA_DIR)."
            ) from error
        try:
            self._lock()
        except OSError as error:
            self.close()
            raise DataFolderError(
                f"a broker is already running on {self.path}. Use that one, stop it, "
                "or choose another folder with --data-dir (STREAMREC_BROKER_DATA_DIR)."
            ) from error
        try:
            self._check()
        except DataFolderError:
            self.close()
            raise

    def _lock(self) -> None:
        # The lock belongs to the open file, so it is held until Java, which inherits it, is gone too.
        give_up = time.monotonic() + _DYING_S
        while True:
            try:
                return fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """Give the folder back."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def cluster_id(self) -> str | None:
        """Cluster id of the storage, or None before it is formatted."""
        marker = self._marker()
        return marker.get("cluster_id") if marker else None

    def _refuse_foreign(self) -> None:
        """Write nothing into a folder that holds something else."""
        try:
            held = {entry.name for entry in self.path.iterdir()}
        except OSError:
            # It is not there yet, or cannot be read: what comes next says so.
            return
        if held and _LOCK not in held and self.data.name not in held:
            raise DataFolderError(
                f"{self.path} was not made by `streamrec broker`: it holds {min(held)}. "
                "Choose an empty folder, or a new one, with --data-dir (STREAMREC_BROKER_DATA_DIR)."
            )

    def _check(self) -> None:
        advice = "Choose another folder with --data-dir (STREAMREC_BROKER_DATA_DIR), or delete this one and its data."
        if not self.data.exists():
            return
        marker = self._marker()
        if marker is None:
            raise DataFolderError(f"{self.data} was not made by `streamrec broker`. {advice}")
        version = marker.get("kafka_version")
        if version != KAFKA_VERSION:
            raise DataFolderError(
                f"{self.path} was formatted by Kafka {version}, this broker is Kafka {KAFKA_VERSION}. {advice}"
            )
        meta = read_properties(self.data / "meta.properties")
        if meta.get("cluster.id") != marker.get("cluster_id"):
            found = meta.get("cluster.id") or "(none: meta.properties is gone)"
            raise DataFolderError(
                f"{self.data} belongs to the Kafka cluster {found}, "
                f"not to {marker.get('cluster_id')} that `streamrec broker` formatted there. {advice}"
            )

    def _marker(self) -> dict[str, str] | None:
        try:
            marker = json.loads((self.data / MARKER).read_text())
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) else None

    def write_properties(self, port: int, controller_port: int) -> None:
        """Write server.properties for these ports."""
        self.properties.write_text(self._rendered(port, controller_port, self.data))

    def _rendered(self, port: int, controller_port: int, log_dir: Path) -> str:
        template = string.Template((deploy_folder() / "server.properties").read_text())
        # A backslash in a properties file escapes what follows.
        log_dirs = str(log_dir).replace("\\", "\\\\")
        return template.substitute(port=port, controller_port=controller_port, log_dir=log_dirs)

    def format(self, java: Java, classpath: str) -> None:
        """Format the storage unless it is formatted; atomic, so an interrupted try leaves nothing.

        Raises:
            DataFolderError: Kafka's formatting tool failed; the message has its output.
        """
        if self.data.exists():
            return
        scratch = self.path / "data.new"
        properties = self.path / "format.properties"
        shutil.rmtree(scratch, ignore_errors=True)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The tool takes a leading dash for an option.
        cluster_id = cluster_id.replace("-", "A")
        try:
            # Ports are no part of the format, but the tool validates the whole file.
            properties.write_text(self._rendered(9092, 9093, scratch))
            run = subprocess.run(
                [
                    java.path, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                    f"-Dlog4j2.configurationFile={deploy_folder() / 'tools-log4j2.properties'}",
                    "-cp", classpath, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties,
                ],
                capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S, check=False,
            )  # fmt: skip
            if run.returncode != 0 or not (scratch / "meta.properties").is_file():
                raise DataFolderError(f"Kafka cannot format {self.path}: {(run.stdout + run.stderr).strip()[-2000:]}")
            marker = {"kafka_version": KAFKA_VERSION, "cluster_id": cluster_id}
            (scratch / MARKER).write_text(json.dumps(marker) + "\n")
            scratch.rename(self.data)
        except OSError as error:
            raise DataFolderError(f"cannot write the broker's data folder {self.path}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise DataFolderError(f"formatting {self.path} took more than {_FORMAT_TIMEOUT_S} s") from error
        finally:
            with contextlib.suppress(OSError):
                properties.unlink(missing_ok=True)


def read_properties(path: Path) -> dict[str, str]:
    """Read a Java properties file of plain key=value lines; empty when there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}

"""Start, watch and stop one real Kafka broker as a child process."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.broker import guarded
from services.broker.errors import PortTakenError, StartError
from services.broker.jars import Progress, classpath, deploy_folder
from services.broker.java import Java, find_java
from services.broker.settings import BrokerSettings
from services.broker.storage import DataFolder

HOST = "127.0.0.1"
_START_TRIES = 3
"""A free port can be taken by another process between the choice and Kafka's bind."""

_JVM_OPTIONS = (
    # The first compiler only and the serial collector: ready in 2.2 s of CPU instead of 4, and a broker
    # of this size moves transactions of small records faster with it, not slower (decision 002).
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
)


class LocalBroker:
    """One Kafka broker on 127.0.0.1, with its own data folder, as a child of this process.

        with LocalBroker(BrokerSettings.load(broker_port=0, broker_data_dir=folder)) as broker:
            Producer({"bootstrap.servers": broker.bootstrap_servers})

    Ends with this process, however that ends. Several can run side by side with different folders and ports.
    """

    def __init__(self, settings: BrokerSettings | None = None, progress: Progress | None = None) -> None:
        self.settings: BrokerSettings = settings or BrokerSettings.load()
        self.folder = DataFolder(self.settings.broker_data_dir)
        self.port = self.settings.broker_port
        """0 until `start` has chosen one, then fixed: a restart listens where clients look."""
        self._progress = progress or (lambda _: None)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Lock()

    @property
    def bootstrap_servers(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of Java.

        Raises:
            StartError: the broker is not running.
        """
        if self._process is None:
            raise StartError("the broker is not running")
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """Kafka's log file."""
        return self.folder.log_file

    def running(self) -> bool:
        """Whether Java is alive."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for Java to end: its exit code, or None after the timeout."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def start(self) -> Self:
        """Start the broker and return when it answers.

        Raises:
            BrokerError: no Java, no jars, a data folder that cannot be used, a port that is taken, or a
                broker that ends or does not answer in time. Nothing is left running.
        """
        if self.running():
            return self
        # A broker that ended by itself still holds its folder and its guard.
        self.kill()
        java = find_java()
        jars = classpath(self._progress)
        self.folder.open()
        try:
            if self.port:
                check_port(self.port)
            if not self.folder.data.exists():
                self._progress(f"formatting the storage in {self.folder.path}")
            self.folder.format(java, jars)
            self._start_tries(java, jars)
        except BaseException:
            self.kill()
            raise
        return self

    def _start_tries(self, java: Java, jars: str) -> None:
        chosen = self.port == 0
        for tries_left in reversed(range(_START_TRIES)):
            if chosen:
                self.port = free_port()
            else:
                check_port(self.port)
            controller_port = free_port()
            self.folder.write_properties(self.port, controller_port)
            log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            try:
                self._launch(java, jars)
                self._await_ready(log_start)
            except StartError as error:
                self._end_process(self.settings.broker_stop_timeout_s)
                if tries_left and "Address already in use" in str(error):
                    continue
                raise
            return

    def _launch(self, java: Java, jars: str) -> None:
        command = [
            str(java.path),
            f"-Xmx{self.settings.broker_heap_mb}m",
            *_JVM_OPTIONS,
            *shlex.split(self.settings.broker_java_options),
            f"-Dlog4j2.configurationFile={deploy_folder() / 'log4j2.properties'}",
            f"-Dkafka.log.file={self.log_file}",
            "-cp", jars, "kafka.Kafka", str(self.folder.properties),
        ]  # fmt: skip
        with self.folder.java_log_file.open("wb") as output:
            # Its own session: Ctrl-C reaches this process only, which then stops Kafka in order.
            self._process, self._guard = guarded.start(
                command, pass_fds=(self.folder.lock_fd,), stdout=output, stderr=output, cwd=self.folder.path
            )

    def _await_ready(self, log_start: int) -> None:
        end = time.monotonic() + self.settings.broker_start_timeout_s
        while not _listening(self.port):
            self._check_alive(log_start, end)
            time.sleep(0.05)
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "reconnect.backoff.max.ms": 100,
                # What it has to say while Kafka is coming up is what this loop is about.
                "log_level": 0,
            }
        )
        while True:
            self._check_alive(log_start, end)
            with contextlib.suppress(KafkaException):
                cluster = admin.list_topics(timeout=1.0)
                if cluster.brokers:
                    break
        if cluster.cluster_id != self.folder.cluster_id():
            raise StartError(f"another Kafka (cluster {cluster.cluster_id}) answers at {self.bootstrap_servers}")

    def _check_alive(self, log_start: int, end: float) -> None:
        code = self.wait(0)
        if code is not None:
            causes, file = self._last_errors(log_start)
            raise StartError(f"Kafka ended with code {code}: {causes} (see {file})")
        if time.monotonic() > end:
            file = self.log_file if self._said(log_start) else self.folder.java_log_file
            raise StartError(
                f"Kafka did not answer at {self.bootstrap_servers} within {self.settings.broker_start_timeout_s} s "
                f"(see {file}). On a slow machine raise STREAMREC_BROKER_START_TIMEOUT_S."
            )

    def _last_errors(self, log_start: int) -> tuple[str, Path]:
        """What Kafka said of this start's failure, or else Java, and the file in which it stands."""
        said, file = self._said(log_start), self.log_file
        causes = [line for line in said.splitlines() if "Exception" in line or " ERROR " in line or " FATAL " in line]
        if not causes:
            file = self.folder.java_log_file
            with contextlib.suppress(OSError):
                causes = file.read_text(errors="replace").splitlines()
        return " | ".join(causes[-3:])[-1500:] or "it said nothing", file

    def _said(self, log_start: int) -> str:
        """What Kafka wrote into its log since this start; it has one as soon as it runs at all."""
        with contextlib.suppress(OSError), self.log_file.open("rb") as log:
            log.seek(log_start)
            return log.read().decode(errors="replace")
        return ""

    def stop(self) -> None:
        """Stop the broker in order (SIGTERM), kill it when that takes too long, give the folder back."""
        self._end_process(self.settings.broker_stop_timeout_s)
        self.folder.close()

    def kill(self) -> None:
        """Kill the broker at once (SIGKILL), as a power cut would, and give the folder back."""
        self._end_process(0)
        self.folder.close()

    def restart(self) -> None:
        """Stop and start on the same port and data. Clients that stay connected go on."""
        self.stop()
        self.start()

    def _end_process(self, grace_s: float) -> None:
        with self._stopping:
            process, self._process = self._process, None
            guard, self._guard = self._guard, None
        if process is not None:
            if grace_s > 0 and process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(grace_s)
            if process.poll() is None:
                process.kill()
            process.wait()
        if guard is not None:
            # A byte tells the guard that the end was meant; it goes after Java, so that Java is never unguarded.
            with contextlib.suppress(BrokenPipeError):
                guard.communicate(b"\n", timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_port(port: int) -> None:
    """Check that nobody listens on a port of the loopback address.

    Raises:
        PortTakenError: somebody does, or the port may not be used.
    """
    with socket.socket() as probe:
        # As Java binds: a port that is only winding down from an earlier broker is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} on {HOST} cannot be used: {error.strerror}. A broker may be running there already; "
                "stop it, or choose another port with --port (STREAMREC_BROKER_PORT)."
            ) from error


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0

"""The limit: the same events through three bare hops, one process each."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any, Self

from confluent_kafka.admin import NewTopic

from services.runtime.client import make_admin
from services.runtime.settings import KafkaSettings
from tests.benchmarks.pipeline.clients import STAMP, Reader, Sender
from tests.benchmarks.pipeline.load import Load
from tests.benchmarks.pipeline.measure import CpuMeter, percentiles

HOPS = 3
_PROBES = 2000
_WAIT_S = 120.0


class Limit:
    """Three hops between four topics. Use as a context manager."""

    def __init__(self, settings: KafkaSettings, broker_pid: int) -> None:
        """Make the topics and start the hops."""
        self._settings = settings
        self._topics = [f"{settings.topic_prefix}hop-{number}" for number in range(HOPS + 1)]
        admin = make_admin(settings)
        made = admin.create_topics([NewTopic(name, settings.user_partitions, 1) for name in self._topics])
        for future in made.values():
            future.result(30)
        hop = [sys.executable, "-m", "tests.benchmarks.pipeline.hop", settings.bootstrap_servers]
        self._hops = [
            subprocess.Popen([*hop, source, target, f"hop-{source}"])
            for source, target in zip(self._topics, self._topics[1:], strict=False)
        ]
        self._cpu = CpuMeter(
            {f"hop {number + 1}": hop.pid for number, hop in enumerate(self._hops)} | {"broker": broker_pid}
        )
        self._ages: list[float] = []
        self._reader = Reader(settings, self._topics[-1], self._take)
        self._sender = Sender(settings)

    def __enter__(self) -> Self:
        self._pass(Load(["w"] * _PROBES, [""] * _PROBES, [b"x" * 100] * _PROBES))
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.stop()
        for hop in self._hops:
            hop.terminate()
        for hop in self._hops:
            try:
                hop.wait(10)
            except subprocess.TimeoutExpired:
                hop.kill()

    def full_speed(self, load: Load) -> dict[str, Any]:
        """All events as fast as they go."""
        self._cpu.start()
        seconds = self._pass(load)
        cpu = self._cpu.stop()
        return {
            "events": len(load),
            "events_per_s": len(load) / seconds,
            "cpu_us_per_event": {name: spent / len(load) * 1e6 for name, spent in cpu.items()},
        }

    def latency(self, load: Load, rate: float) -> dict[str, float]:
        """Age of the events at the far end, at a rate."""
        self._ages.clear()
        self._pass(load, rate)
        return percentiles(list(self._ages))

    def _pass(self, load: Load, rate: float | None = None) -> float:
        """Send all, wait until all have come out: seconds."""
        target = self._reader.count + len(load)
        began = time.monotonic()
        records = ((user.encode(), value) for user, value in zip(load.users, load.values, strict=True))
        self._sender.send(self._topics[0], records, rate, stamp=True)
        while self._reader.count < target:
            if time.monotonic() - began > _WAIT_S:
                raise RuntimeError(f"the bare hops passed {self._reader.count} of {target} events")
            time.sleep(0.005)
        return self._reader.last - began

    def _take(self, messages: list[Any], now: float) -> None:
        self._ages.extend(now - STAMP.unpack_from(bytes(message.value()))[0] for message in messages)

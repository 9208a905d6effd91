"""Readings from the outside: CPU and memory of processes, metrics endpoints, percentiles."""

from __future__ import annotations

import os
import re
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

_SAMPLE = re.compile(r"^streamrec_(\w+)\{([^}]*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of a process so far, all its threads."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def client_cpu_s(pid: int) -> float:
    """CPU seconds of the Kafka client's own threads in a process; 0 where threads have no names (Linux has)."""
    spent = 0.0
    for thread in psutil.Process(pid).threads():
        try:
            name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text()
        except OSError:
            continue
        if name.startswith("rdk:"):
            spent += thread.user_time + thread.system_time
    return spent


def rss_mb(pid: int) -> float:
    """Resident memory, MB."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def busy() -> float:
    """Machine load: average of runnable processes over a minute, per core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def scrape(port: int) -> dict[str, dict[str, float]]:
    """{metric: {labels without the processor's name, or with it where there are two: value}} of a metrics endpoint."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for line in text.splitlines():
        matched = _SAMPLE.match(line)
        if matched:
            name, labels, value = matched.groups()
            found[name][",".join(value for _, value in _LABEL.findall(labels))] = float(value)
    return dict(found)


def seconds_by_part(port: int) -> dict[str, float]:
    """{"processor part": seconds} of a service's loops so far."""
    parts = scrape(port).get("seconds_total", {})
    return {name.replace(",", " "): value for name, value in parts.items()}


def percentiles(seconds: list[float]) -> dict[str, float]:
    """{"p50": ms, "p99": ms, "n": count} of durations."""
    if not seconds:
        return {"n": 0}
    p50, p99 = np.percentile(np.array(seconds), [50, 99]).tolist()
    return {"p50": round(p50 * 1000, 1), "p99": round(p99 * 1000, 1), "n": len(seconds)}


@dataclass(slots=True)
class CpuMeter:
    """CPU of named processes between two moments."""

    pids: dict[str, int]
    _begin: dict[str, float] = field(default_factory=dict)
    _client_begin: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Begin."""
        self._begin = {name: cpu_s(pid) for name, pid in self.pids.items()}
        self._client_begin = {name: client_cpu_s(pid) for name, pid in self.pids.items()}

    def stop(self) -> dict[str, float]:
        """{name: CPU seconds since `start`}."""
        return {name: cpu_s(pid) - self._begin[name] for name, pid in self.pids.items()}

    def clients(self) -> dict[str, float]:
        """{name: of that, in the threads of the Kafka client}."""
        return {name: client_cpu_s(pid) - self._client_begin[name] for name, pid in self.pids.items()}

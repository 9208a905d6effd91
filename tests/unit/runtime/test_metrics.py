"""Metrics: every name is documented, numbers arrive at /metrics."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from services.runtime.health import HealthServer, Summary, Watch
from services.runtime.log import Log
from services.runtime.metrics import DOCS, Metrics, names
from tests.unit.runtime import metric_docs


def test_every_metric_is_documented_once() -> None:
    """The registry and its descriptions name the same metrics."""
    assert len(names()) == len(set(names()))
    assert set(names()) == set(DOCS)


def test_observations_one_by_one_and_in_bulk_agree() -> None:
    """A numpy array feeds a histogram as its values would."""
    values = np.random.default_rng(3).exponential(1.0, 500)
    one, bulk = Metrics(), Metrics()
    for value in values:
        one.observe("event_age_seconds", float(value))
    bulk.observe("event_age_seconds", values)
    left, right = (next(iter(metrics.families())).samples for metrics in (one, bulk))
    assert [sample.value for sample in left] == pytest.approx([sample.value for sample in right])


def test_the_summary_line_says_what_was_left_out() -> None:
    """The periodic log line of feature extraction has a count of each fate but "accepted", since the line before."""
    metrics, lines = Metrics(), list[dict[str, Any]]()
    summary = Summary(metrics, 1e-9)
    watch = Watch("extraction", metrics, 60)
    for late in (2, 3):
        metrics.add("interactions_total", late, (("fate", "late"),))
        metrics.add("interactions_total", 7, (("fate", "accepted"),))
        summary.say(cast(Log, SimpleNamespace(info=lambda _, **keys: lines.append(keys))), watch)
    assert [line["late"] for line in lines] == [2, 3]
    assert all("accepted" not in line and "dup" not in line for line in lines)


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_endpoints() -> None:
    """/healthz, /readyz and /metrics say what the loops say; a stalled loop is unhealthy."""
    metrics = [Metrics((("processor", name),)) for name in "ab"]
    watches = [Watch(name, own, 60) for name, own in zip("ab", metrics, strict=True)]
    server = HealthServer("127.0.0.1", 0)
    server.start()
    try:
        assert _get(server.port, "/readyz")[0] == 503
        assert _get(server.port, "/healthz")[0] == 200
        server.watch(watches, metrics)
        assert "first assignment" in _get(server.port, "/readyz")[1]
        for watch in watches:
            watch.ready = True
        assert _get(server.port, "/readyz")[0] == 200
        watches[1]._stalled = ["b: stands still"]
        status, body = _get(server.port, "/healthz")
        assert status == 503
        assert json.loads(body)["problems"] == ["b: stands still"]
        metrics[0].add("steps_total", 3)
        metrics[1].add("steps_total", 4)
        text = _get(server.port, "/metrics")[1]
        assert 'streamrec_steps_total{processor="a"} 3.0' in text
        assert 'streamrec_steps_total{processor="b"} 4.0' in text
        assert text.count("# TYPE streamrec_steps_total counter") == 1
        assert _get(server.port, "/nothing")[0] == 404
    finally:
        server.stop()


def test_a_loop_that_does_not_turn_is_unhealthy() -> None:
    """The watchdog also sees a loop that hangs inside a call."""
    assert Watch("a", Metrics(), -1.0).problems()


def test_waiting_for_kafka_is_healthy_and_not_ready() -> None:
    """A restart would not bring the broker back sooner."""
    watch = Watch("a", Metrics(), 60)
    watch.ready = True
    watch._stalled = ["a: stands still"]
    watch.waiting("Kafka")
    assert not watch.problems()
    assert not watch.ready
    assert watch.waiting_for == "Kafka"


def test_the_page_has_every_metric() -> None:
    """The table in docs/operations.md is made from the registry: `python -m tests.unit.runtime.metric_docs`."""
    page = metric_docs.PAGE.read_text("utf-8")
    assert metric_docs.rendered(page) == page

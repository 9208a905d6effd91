"""What log lines hold: tracebacks without the values of variables."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from services.runtime.log import configure, logger


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests find the log as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def _fails() -> None:
    password = "hun" + "ter2"
    raise LookupError(f"no account of {len(password)} letters")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_has_no_local_variables(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """It names the error and where it came from, in both formats; JSON in one line."""
    configure(log_format)
    try:
        _fails()
    except LookupError as error:
        logger(service="svc").error("loop.crashed", exc_info=error)
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "no account of 7 letters" in said
    assert "_fails" in said
    if log_format == "json":
        assert json.loads(said)["exception"][0]["exc_type"] == "LookupError"

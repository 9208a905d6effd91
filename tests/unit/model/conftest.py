"""Kernels are compiled before the first test starts, so that no test's timeout counts the compiler."""

from __future__ import annotations

import pytest

from services.model.config import ModelConfig
from services.model.warm import compile_kernels


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile, or read the compiler's cache, once the tests are known."""
    if not session.config.option.collectonly and session.items:
        compile_kernels(ModelConfig())

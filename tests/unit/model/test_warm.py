"""Kernels are compiled before the first event."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import services.model


def test_after_the_warm_up_nothing_is_left_to_compile() -> None:
    """Learning and ranking on a real-sized stream meets compiled kernels only."""
    script = """
import numpy as np
from tests.unit.model.test_warm import compiled
from services.model.config import ModelConfig
from services.model.warm import compile_kernels, _events
from services.model.learner import Learner
from services.model.owner import ItemOwner
from services.model.recommender import Query, Recommender

config = ModelConfig(item_partitions=2, max_items=5000, max_features=500, max_users=500)
compile_kernels(config)
before = compiled()
learner, owner = Learner(config), ItemOwner(config, 0)
for batch in range(5):
    deltas = learner.learn(_events(learner.users, batch), batch)
    owner.fold(deltas[0])
    learner.replica.take(0, owner.sweep(), batch)
recommender = Recommender(config, learner.replica, learner.users)
query = Query(0, 0, 10, np.zeros(0, np.uint64), np.zeros(0, np.uint32), True)
assert len(recommender.recommend([query] * 3)[0].items)
print({name: n for name, n in compiled().items() if n != before.get(name, 0)})
assert before and sum(before.values()) > 10
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{}"


def compiled() -> dict[str, int]:
    """{kernel: number of compiled signatures} of everything in services.model."""
    found = {}
    for module in pkgutil.walk_packages(services.model.__path__, "services.model."):
        loaded = importlib.import_module(module.name)
        for name, kernel in vars(loaded).items():
            if hasattr(kernel, "signatures") and hasattr(kernel, "py_func"):
                found[f"{module.name}.{name}"] = len(kernel.signatures)
    return found

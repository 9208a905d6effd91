"""`python -m services.cli.warm`: compile the kernels of every service into numba's cache, each of them once.

Processes that start side by side would otherwise compile the same code next to each other.
"""

from __future__ import annotations

from services.feature_extraction import columns as interactions
from services.feature_extraction import served
from services.model.config import ModelConfig
from services.model.warm import compile_kernels
from services.model_update import columns as features
from services.recommendation_publishing import avro


def main() -> None:
    """Compile; takes seconds when everything is in the cache."""
    interactions.compile_kernels()
    served.compile_kernels()
    compile_kernels(ModelConfig())
    features.compile_kernels()
    avro.compile_kernels()


if __name__ == "__main__":
    main()

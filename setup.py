"""The packages of the distribution; everything else stands in pyproject.toml.

`schemas/` and `deploy/kafka/` are folders of their own in a checkout, for those who read them without Python, and
packages of data inside the wheel.
"""

from setuptools import find_packages, setup

DATA = {"services.contracts.schemas": "schemas", "services.broker.kafka": "deploy/kafka"}

setup(
    packages=[*find_packages(include=["services", "services.*"]), *DATA],
    package_dir=DATA,
    package_data={
        "services": ["py.typed"],
        "services.contracts.schemas": ["*.avsc", "*.md", "released/*.json", "released/*/*.avsc"],
        "services.broker.kafka": ["*.properties", "*.lock"],
    },
)

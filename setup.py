"""The packages of the distribution; everything else stands in pyproject.toml.

`schemas/` is a folder of its own at the top, for those who read it without Python, and a package inside the wheel.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["services", "services.*"]), "services.contracts.schemas"],
    package_dir={"services.contracts.schemas": "schemas"},
    package_data={
        "services": ["py.typed"],
        "services.contracts.schemas": ["*.avsc", "*.md", "released/*.json", "released/*/*.avsc"],
    },
)

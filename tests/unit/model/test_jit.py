"""Machine code on disk is that of the present sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from services.model import jit

HELPER = "from services.model.jit import kernel\n\n@kernel\ndef plus(a):\n    return a + {}\n"
KERNEL = """
from services.model.jit import kernel
from services.{package}.helper import plus

@kernel
def f(a):
    return plus(a)

print(f(1), sum(f.stats.cache_hits.values()))
"""


class Checkout:
    """A small copy of the sources: the model's compiler and packages with a kernel and its helper in two files."""

    def __init__(self, folder: Path, *packages: str) -> None:
        """Write the files."""
        self.services = folder / "services"
        for package in ("model", *packages):
            (self.services / package).mkdir(parents=True)
            (self.services / package / "kernels.py").write_text(KERNEL.format(package=package))
            self.helper(package, 1)
        shutil.copy(jit.__file__, self.services / "model" / "jit.py")

    def helper(self, package: str, amount: int) -> None:
        """Change what the helper of a package adds."""
        (self.services / package / "helper.py").write_text(HELPER.format(amount))

    def run(self, package: str) -> str:
        """What a kernel makes of 1 in a process of its own, and whether it came from disk."""
        env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        command = [sys.executable, "-c", f"import services.{package}.kernels"]
        done = subprocess.run(
            command, cwd=self.services.parent, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def test_a_changed_helper_of_another_file_is_noticed(tmp_path: Path) -> None:
    """A kernel is compiled again when a file of its package has changed, and else read from disk."""
    checkout = Checkout(tmp_path, "service")
    for package in ("model", "service"):
        assert checkout.run(package) == "2 0"
        assert checkout.run(package) == "2 1"
    checkout.helper("service", 2)
    assert checkout.run("service") == "3 0"
    assert checkout.run("model") == "2 1"
    checkout.helper("model", 2)
    assert checkout.run("model") == "3 0"
    assert checkout.run("service") == "3 0"


def test_packages_have_folders_of_their_own() -> None:
    """What another service changes leaves the machine code of a service where it is; tests count as the model."""
    model, one, other = (jit._cache_of(f"services.{name}") for name in ("model.users", "runtime.a.b", "broker.a"))
    assert one != other
    assert one.name.startswith(f"{model.name}-")
    assert one == jit._cache_of("services.runtime.c")
    assert jit._cache_of("tests.benchmarks.kernels") == jit._cache_of("__main__") == model

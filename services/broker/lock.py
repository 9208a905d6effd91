"""`python -m services.broker.lock`: write deploy/kafka/jars.lock for the pinned Kafka version.

For maintainers, after a change of version.py. The graph is resolved in two steps, because jgo takes
every artifact it is given as a bill of materials too: log4j's would override Kafka's own versions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from services.broker.jars import LOCK_NAME, deploy_folder, maven, sha256
from services.broker.version import KAFKA_VERSION, SCALA_VERSION

# Only one tool (connect-plugin-path) needs Connect, which would double the download with a web server.
_LEFT_OUT = ("connect-runtime", "connect-api", "connect-json", "connect-transforms")


def resolve(scratch: Path) -> list[str]:
    """Lines of the jar list: coordinate and SHA-256, sorted.

    Raises:
        ValueError: the resolver chose a Kafka artifact of another version.
    """
    context = maven(scratch)
    left_out = [context.project("org.apache.kafka", name) for name in _LEFT_OUT]
    roots = (f"kafka_{SCALA_VERSION}", "kafka-tools")
    wanted = [context.create_dependency(f"org.apache.kafka:{name}:{KAFKA_VERSION}", left_out) for name in roots]
    inputs, transitive = context.resolver.resolve(wanted)
    found = [*inputs, *(each for each in transitive if each.scope in ("compile", "runtime"))]
    # Kafka speaks slf4j 1.7; the binding has the version of the log4j that Kafka brings.
    log4j = next(each.version for each in found if each.artifactId == "log4j-core")
    found.append(context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}"))
    wrong = [str(each) for each in found if each.groupId == "org.apache.kafka" and each.version != KAFKA_VERSION]
    if wrong:
        raise ValueError(f"resolved to another Kafka version: {wrong}")
    return sorted(
        f"{each.groupId}:{each.artifactId}:{each.version} {sha256(Path(each.artifact.resolve()))}" for each in found
    )


def main() -> None:
    """Write the list and say how long it is."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = resolve(Path(scratch))
    path = deploy_folder() / LOCK_NAME
    head = f"# Jars of Apache Kafka {KAFKA_VERSION} with SHA-256; written by `python -m services.broker.lock`."
    path.write_text("\n".join([head, *lines]) + "\n")
    sys.stdout.write(f"{path}: {len(lines)} jars\n")


if __name__ == "__main__":
    main()

"""What is in deploy/ and docker-compose.yml agrees with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.broker.settings import BrokerSettings
from services.broker.storage import read_properties
from services.broker.version import KAFKA_VERSION
from services.contracts.topics import SERVICES
from services.feature_extraction.settings import ExtractionSettings
from services.model_update.settings import ModelUpdateSettings
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime import metrics
from services.runtime.settings import KafkaSettings, rows

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TABLES = (KafkaSettings, ExtractionSettings, ModelUpdateSettings, PublishingSettings, BrokerSettings)
KNOWN = {row.env: row for table in TABLES for row in rows(table)}
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
ALL_YAML = [ROOT / "docker-compose.yml", *sorted(DEPLOY.rglob("*.yml")), *MANIFESTS]

# Only the address that a name in braces stands for; the local broker has two listeners, the container's has three.
DIFFERENT = {"process.roles", "node.id", "controller.quorum.voters", "listeners", "advertised.listeners",
             "listener.security.protocol.map", "controller.listener.names", "log.dirs", "num.network.threads",
             "num.io.threads", "background.threads", "num.recovery.threads.per.data.dir"}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> Any:
    """The parsed docker-compose.yml."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _documents() -> list[Any]:
    return [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]


def _stateful() -> list[Any]:
    return [each for each in _documents() if each["kind"] == "StatefulSet"]


@pytest.mark.parametrize("path", ALL_YAML, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_parses(path: Path) -> None:
    """Every YAML file is one, and every document in it is a mapping."""
    assert all(isinstance(each, dict) for each in yaml.safe_load_all(path.read_text()))


def test_image_has_the_pinned_version(compose: Any) -> None:
    """Compose runs the Kafka that the local broker runs."""
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_images_are_pinned(compose: Any) -> None:
    """No image that others publish is taken at whatever tag is newest."""
    foreign = [each["image"] for each in compose["services"].values() if each["image"] != "streamrec"]
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in foreign), foreign


def test_both_brokers_are_configured_alike(compose: Any) -> None:
    """What the local broker's properties set, the container's environment sets to the same value."""
    local = read_properties(DEPLOY / "kafka" / "server.properties")
    container = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for name, value in compose["services"]["kafka"]["environment"].items()
    }
    assert {key: container.get(key) for key in local if key not in DIFFERENT} == {
        key: value for key, value in local.items() if key not in DIFFERENT
    }


def test_compose_variables_are_settings(compose: Any) -> None:
    """Every STREAMREC_ variable of a service is in the settings tables, with the table's default."""
    for name in ("topics", *SERVICES):
        for variable, value in compose["services"][name]["environment"].items():
            assert variable in KNOWN, f"{name}: {variable}"
            default = re.fullmatch(r"\$\{(\w+):-(.*)\}", str(value))
            if default:
                assert (default[1], default[2]) == (variable, KNOWN[variable].default)


def test_dockerfile_variables_are_settings() -> None:
    """The STREAMREC_ variables of the image are in the settings tables."""
    used = set(re.findall(r"STREAMREC_[A-Z_]+", (DEPLOY / "Dockerfile").read_text()))
    assert used
    assert used <= set(KNOWN)


def test_kubernetes_variables_are_settings() -> None:
    """The STREAMREC_ variables of the manifests are in the settings tables."""
    used = set(re.findall(r"STREAMREC_[A-Z_]+", "".join(path.read_text() for path in MANIFESTS)))
    assert used
    assert used <= set(KNOWN)


def test_every_service_is_deployed(compose: Any) -> None:
    """Compose and Kubernetes run the three services by the names of the topic table."""
    commands = {name: compose["services"][name]["command"] for name in SERVICES}
    assert commands == {name: ["run", name] for name in SERVICES}
    sets = {each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["args"] for each in _stateful()}
    assert sets == commands


def test_one_image_is_built(compose: Any) -> None:
    """Once, for all that run it: were it built for each, every `up` would find another image than before."""
    ours = {name: each for name, each in compose["services"].items() if each["image"] == "streamrec"}
    assert [name for name, each in ours.items() if "build" in each] == ["topics"]
    assert {name for name, each in ours.items() if each.get("pull_policy") == "never"} == {*ours} - {"topics"}


def test_services_are_confined(compose: Any) -> None:
    """The services cannot write their root file system, have no capability and gain none."""
    for name in ("topics", *SERVICES):
        service = compose["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for each in _stateful():
        context = each["spec"]["template"]["spec"]["containers"][0]["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]


def test_everything_is_published_on_loopback(compose: Any) -> None:
    """No port of any container is reachable from another machine."""
    ports = [port for each in compose["services"].values() for port in each.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_replicas_can_be_scaled(compose: Any) -> None:
    """A service has no fixed container name, host port or instance, so that it can have replicas."""
    for name in SERVICES:
        service = compose["services"][name]
        assert "container_name" not in service
        assert service["ports"] == ["127.0.0.1::8080"]
        assert "STREAMREC_INSTANCE" not in service["environment"]
        # Stable names: one host name and one volume for all replicas.
        assert service["hostname"] == name
        assert service["volumes"] == [f"{name}-state:/var/lib/streamrec"]


def test_stop_has_time(compose: Any) -> None:
    """Containers and pods are given longer than the service's own stop budget."""
    budget_s = int(KNOWN["STREAMREC_STOP_BUDGET_MS"].default) / 1000
    assert all(int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > budget_s for name in SERVICES)
    assert all(each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > budget_s for each in _stateful())


def test_prometheus_scrapes_every_service(compose: Any) -> None:
    """Prometheus looks for the services by their names in Compose, on the port of the image."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    found = config["scrape_configs"][0]["dns_sd_configs"][0]
    assert sorted(found["names"]) == sorted(SERVICES)
    assert found["port"] == 8080
    assert "EXPOSE 8080" in (DEPLOY / "Dockerfile").read_text()
    assert config["rule_files"] == ["alerts.yml"]
    assert "./deploy/prometheus:/etc/prometheus:ro" in compose["services"]["prometheus"]["volumes"]


def test_dashboard_and_alarms_use_metrics_that_exist() -> None:
    """Every metric of the dashboard and of the alarms is one that the services export."""
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "streamrec.json").read_text())
    alarms = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = [rule["expr"] for group in alarms["groups"] for rule in group["rules"]]
    used = {name for expr in (*shown, *asked) for name in re.findall(r"streamrec_(\w+)", expr)}
    known = {name + suffix for name in metrics.names() for suffix in ("", "_bucket", "_sum", "_count")}
    assert used
    assert used <= known, used - known


def test_kustomization_lists_every_manifest() -> None:
    """No manifest is forgotten."""
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS if path.name != "kustomization.yaml"]

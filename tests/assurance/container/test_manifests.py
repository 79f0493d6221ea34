"""What is written for Docker and Kubernetes: valid by their schemas, and at one with the image."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.assurance.container.test_container import instructions

KUBERNETES = ("1.31", "1.37")
"""The oldest and the newest version whose schema is asked."""


@pytest.fixture(scope="module")
def packaging(root: Path) -> Path:
    return root / "server" / "packaging"


@pytest.fixture(scope="module")
def compose(packaging: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((packaging / "container/compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def manifests(packaging: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name."""
    loaded = yaml.safe_load_all((packaging / "kubernetes/dpe.yaml").read_text(encoding="utf-8"))
    return {(one["kind"], one["metadata"]["name"]): one for one in loaded}


def last(root: Path, name: str) -> str:
    """The last instruction of this name in the Containerfile."""
    return [rest for one, rest in instructions(root) if one == name][-1]


# -- compose --


def by_schema(file: Path, require_tool: Callable[[str], str]) -> int:
    command = [require_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_the_compose_file_is_one(packaging: Path, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    file = packaging / "container/compose.yaml"
    assert by_schema(file, require_tool) == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(file.read_text().replace("cap_drop: [ALL]", "cap_drop: ALL"))
    assert by_schema(wrong, require_tool) == 1


def test_nothing_secret_is_in_the_compose_file(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert value.startswith("/run/secrets/") or not re.search("PASS|SECRET|KEY", name), name
    for secret in compose["secrets"].values():
        assert secret.keys() == {"file"}


def test_the_services_have_no_more_than_they_need(compose: dict[str, Any], root: Path) -> None:
    services = compose["services"]
    for name in ("dpe", "prometheus"):
        assert (services[name]["read_only"], services[name]["cap_drop"]) == (True, ["ALL"])
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert services["postgresql"]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}
    assert [port for one in services.values() for port in one.get("ports", ())] == [
        "5683:5683/udp",
        "127.0.0.1:9090:9090",
    ]
    build = services["dpe"]["build"]
    folder = root / "server/packaging/container"
    assert (folder / build["context"]).resolve() == root
    assert (root / build["dockerfile"]).is_file()
    for volume in services["prometheus"]["volumes"]:
        source = volume.partition(":")[0]
        assert source in compose["volumes"] or (folder / source).is_file()


def test_what_the_server_is_started_with(compose: dict[str, Any], manifests: Mapping[Any, Any], root: Path) -> None:
    metrics = ["--metrics", "0.0.0.0:9464"]
    command = json.loads(last(root, "CMD"))
    expected = [*command[:-1], *metrics, *command[-1:]]
    assert compose["services"]["dpe"]["command"] == expected
    (container,) = manifests["StatefulSet", "dpe"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == expected


def test_prometheus_reads_its_files(packaging: Path, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    for file in ("container/prometheus.yml", "prometheus/dpe-alerts.yml"):
        shutil.copy(packaging / file, tmp_path)
    command = [require_tool("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


# -- Kubernetes --


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_manifests_are_valid(manifests: Mapping[Any, dict[str, Any]], version: str) -> None:
    assert len(manifests) == 4
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)
    wrong = json.loads(json.dumps(manifests["StatefulSet", "dpe"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_pod_is_confined(manifests: Mapping[Any, dict[str, Any]], root: Path) -> None:
    """As the Pod Security Standard "restricted" asks, and with a root that can only be read."""
    pod = manifests["StatefulSet", "dpe"]["spec"]["template"]["spec"]
    user, group = map(int, last(root, "USER").split(":"))
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (user, group, group)
    assert context["runAsNonRoot"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment.keys() == {"DPE_TRUSTED_GROUPS", "REALM", "URI"}
        assert environment["DPE_TRUSTED_GROUPS"] == str(group)
        assert {one["mountPath"] for one in container["volumeMounts"]} == {last(root, "VOLUME"), "/tmp"}


def test_one_server_at_a_time_has_the_volume_and_its_time_to_end(manifests: Mapping[Any, dict[str, Any]]) -> None:
    from dpe_server.registration.draining import DRAIN

    spec = manifests["StatefulSet", "dpe"]["spec"]
    assert spec["replicas"] == 1
    assert spec["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 2 * DRAIN


def test_the_probes_are_the_images_own(manifests: Mapping[Any, dict[str, Any]], root: Path) -> None:
    from dpe_tools.commands.doctor import PROBE_SECONDS

    (container,) = manifests["StatefulSet", "dpe"]["spec"]["template"]["spec"]["containers"]
    wanted = json.loads(last(root, "HEALTHCHECK").partition("CMD ")[2])
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["exec"]["command"] == wanted
        assert container[name]["timeoutSeconds"] > 3 * PROBE_SECONDS


def test_the_services_and_the_policy_meet_the_pod(manifests: Mapping[Any, dict[str, Any]]) -> None:
    template = manifests["StatefulSet", "dpe"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"]: port for port in template["spec"]["containers"][0]["ports"]}
    assert (ports["coap"]["containerPort"], ports["coap"]["protocol"]) == (5683, "UDP")
    for name in ("dpe", "dpe-metrics"):
        spec = manifests["Service", name]["spec"]
        assert spec["selector"].items() <= labels.items()
        for port in spec["ports"]:
            assert port["protocol"] == ports[port["targetPort"]]["protocol"]
    policy = manifests["NetworkPolicy", "dpe"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    allowed = {(port["port"], port["protocol"]) for rule in policy["ingress"] for port in rule["ports"]}
    assert allowed == {(port["containerPort"], port["protocol"]) for port in ports.values()}
    assert "from" in policy["ingress"][1], "metrics are not for everybody"
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o640, False), (0o440, False)])
def test_a_password_that_a_group_can_read_is_not_taken(tmp_path: Path, mode: int, taken: bool) -> None:
    """A Secret beside an fsGroup has mode 0440 at best, so it is copied."""
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:*:secret")
    file.chmod(mode)
    script = "import psycopg, sys; psycopg.connect(host='127.0.0.1', port=1, user='dpe', passfile=sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=False)
    assert "Connection refused" in done.stderr
    assert ("has group or world access" not in done.stderr) is taken

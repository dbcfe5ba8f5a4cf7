"""deploy/chart holds together: with itself, the settings and the images; rendered where Helm is.

Helm's own library is 244 MB, so it is no part of the development packages:
`pip install helm-python-sdk` brings it, and with it the tests of what is rendered.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.main import MOST_INSPECTIONS
from app.settings import PREFIX, Settings

CHART = Path(__file__).parent.parent / "deploy" / "chart"
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
COMPOSE = (CHART.parents[1] / "docker-compose.yml").read_text()
PODS = ("api.yaml", "worker.yaml")
each_pod = pytest.mark.parametrize("template", PODS)


@each_pod
@pytest.mark.parametrize("part", ["podSecurity", "containerSecurity", "environment", "mounts"])
def test_pod_has_what_all_pods_have(template: str, part: str) -> None:
    assert len(re.findall(rf'include "penjing\.{part}" ', TEMPLATES[template])) == 1


@each_pod
def test_pod_gets_no_token_of_the_cluster(template: str) -> None:
    assert "automountServiceAccountToken: false" in TEMPLATES[template]


def test_parts_take_every_right_away() -> None:
    parts = TEMPLATES["_parts.tpl"]
    for line in (
        "runAsNonRoot: true",
        "seccompProfile: {type: RuntimeDefault}",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "capabilities: {drop: [ALL]}",
    ):
        assert line in parts


def test_user_is_the_one_of_the_images() -> None:
    images = (CHART.parents[1] / "Dockerfile").read_text()
    (user,) = set(re.findall(r"^USER (\d+):", images, re.MULTILINE))
    assert f"runAsUser: {user}" in TEMPLATES["_parts.tpl"]


def test_variables_are_settings() -> None:
    named = set(re.findall(rf"name: ({PREFIX}\w+)", "".join(TEMPLATES.values())))
    assert named <= {PREFIX + field.upper() for field in Settings.model_fields}
    assert {"PENJING_DATABASE_URL", "PENJING_BROKER_URL", "PENJING_BLOBS"} <= named


def test_passwords_come_from_a_secret_alone() -> None:
    for template in TEMPLATES.values():
        assert not re.search(r"URL\n\s+value:", template)
    assert "password" not in str(VALUES).lower()


def test_every_value_is_used_and_every_used_value_is_there() -> None:
    used = set(re.findall(r"\.Values\.([\w.]+)", "".join(TEMPLATES.values())))
    for path in used:
        at: Any = VALUES
        for key in path.split("."):
            assert key in at, path
            at = at[key]
    assert {path.split(".")[0] for path in used} == set(VALUES)


def test_keys_are_asked_for_on_every_address() -> None:
    assert Settings.from_environment(VALUES["environment"]).require_keys is True


def test_api_is_reached_whether_there_are_workers_or_not() -> None:
    probes = re.findall(r"(\w+)Probe:\n\s+httpGet: {path: (\S+),", TEMPLATES["api.yaml"])
    assert probes == [("liveness", "/livez"), ("readiness", "/livez")]


def test_images_are_those_of_the_compose_file() -> None:
    for image in VALUES["images"].values():
        assert f"image: {image}\n" in COMPOSE


def test_job_fits_into_the_memory_of_its_worker() -> None:
    limit = int(VALUES["worker"]["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    assert VALUES["worker"]["jobMemoryBytes"] < limit


def test_inspections_fit_into_the_memory_of_the_api() -> None:
    limit = int(VALUES["api"]["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    assert limit >= MOST_INSPECTIONS * Settings().inspection_memory_bytes + 512 * 2**20


@pytest.fixture(scope="module")
def rendered() -> dict[tuple[str, str], dict[str, Any]]:
    """What the cluster would be given, by kind and name."""
    helm = pytest.importorskip("helm_python", reason="pip install helm-python-sdk")
    with helm.Chart.load(CHART) as chart:
        text = "\n---\n".join(chart.render(name="demo").values())
    found = (document for document in yaml.safe_load_all(text) if document)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@pytest.mark.parametrize("name", ["demo-api", "demo-worker"])
def test_rendered_pod_is_confined(name: str, rendered: dict[tuple[str, str], Any]) -> None:
    pod = rendered["Deployment", name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}
    assert {one["name"] for one in pod["volumes"]} == {"home", "tmp", "blobs"}


def test_somebody_takes_in_what_killed_jobs_leave() -> None:
    # A worker that is the first process of its container keeps the numbers of the dead for ever.
    assert "\n      shareProcessNamespace: true\n" in TEMPLATES["worker.yaml"]


def test_rendered_worker_reaches_database_broker_and_names_alone(
    rendered: dict[tuple[str, str], Any],
) -> None:
    policy = rendered["NetworkPolicy", "demo-worker"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert ports == [5432, 6379, 53, 53]
    assert all(rule["to"] for rule in policy["egress"])
    labels = rendered["Deployment", "demo-worker"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()


def test_rendered_service_leads_to_the_api(rendered: dict[tuple[str, str], Any]) -> None:
    labels = rendered["Deployment", "demo-api"]["spec"]["template"]["metadata"]["labels"]
    service = rendered["Service", "demo-api"]["spec"]
    assert service["selector"].items() <= labels.items()
    assert rendered["NetworkPolicy", "demo-api"]["spec"]["ingress"][0]["ports"] == [
        {"protocol": "TCP", "port": "http"}
    ]

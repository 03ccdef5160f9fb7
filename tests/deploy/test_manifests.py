"""The rendered overlays hold what the code needs; whatever is left out of them is missed."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import placed
from tests.support.pods import ROOT, Rendered, pod_of
from tools.kubectl import BadManifests, render
from xinhuo.chassis import config

OVERLAYS = ROOT / "deploy" / "overlays"


@pytest.fixture(scope="module")
def production() -> Rendered:
    return Rendered(render(OVERLAYS / "production"))


def is_missed(rendered: Rendered) -> bool:
    """Tell whether something is found to be wrong."""
    return next(placed.problems(rendered), None) is not None


def test_the_production_overlay_has_a_place_for_everything_in_the_code(production: Rendered) -> None:
    assert list(placed.problems(production)) == []


@pytest.mark.parametrize("overlay", ["dev", "staging"])
def test_the_other_overlays_run_the_same_processes_with_the_same_settings(overlay: str) -> None:
    rendered = Rendered(render(OVERLAYS / overlay))
    for check in (placed.processes, placed.bounds, placed.once, placed.configuration):
        assert list(check(rendered)) == [], check.__name__
    assert bool(rendered.of_kind("PersistentVolumeClaim")) == (overlay == "staging"), "where the alert of backups is"
    assert list(placed.backups(rendered)) == [] or overlay == "dev"


def test_whatever_object_is_left_out_is_missed(production: Rendered) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in production.objects]
    assert len(names) > 100
    assert [one for one in names if not is_missed(production.without(*one))] == []


def test_whatever_setting_is_left_out_is_missed(production: Rendered) -> None:
    (settings,) = (item for item in production.of_kind("ConfigMap") if "XINHUO_HOST" in item["data"])
    assert len(settings["data"]) > 10
    for name in list(settings["data"]):
        value = settings["data"].pop(name)
        assert is_missed(production), name
        settings["data"][name] = value


def test_a_new_setting_without_a_place_is_missed(production: Rendered) -> None:
    assert list(placed.configuration(production, ["XINHUO_NEW"])) == ["XINHUO_NEW: not in xinhuo-settings"]


def pieces(production: Rendered) -> Iterator[tuple[str, Any, Any]]:
    """Yield places in lists or maps where something stands that is needed: a name, the container, the key."""
    for item in production.objects:
        name, spec = f"{item['kind']} {item['metadata']['name']}", item.get("spec")
        match item["kind"]:
            case "ScaledObject":
                yield from ((f"{name} {number}", spec["triggers"], number) for number in range(len(spec["triggers"])))
            case "NetworkPolicy" if "broker" not in name and "postgresql" not in name:
                for side in ("ingress", "egress"):
                    rules = spec.get(side, [])
                    yield from ((f"{name} {side} {number}", rules, number) for number in range(len(rules)))
            case "Ingress":
                paths = spec["rules"][0]["http"]["paths"]
                yield from ((f"{name} {number}", paths, number) for number in range(len(paths)))
            case "Deployment":
                (container,) = pod_of(item)["containers"]
                lines = container["env"]
                yield from ((f"{name} env {number}", lines, number) for number in range(len(lines)))
                for volume in pod_of(item)["volumes"]:
                    for source in volume.get("projected", {}).get("sources", []):
                        keys = source["secret"]["items"]
                        yield from ((f"{name} key {number}", keys, number) for number in range(len(keys)))
            case "Cluster":
                roles = spec["managed"]["roles"]
                yield from ((f"{name} role {number}", roles, number) for number in range(len(roles)))


def test_whatever_is_left_out_of_an_object_is_missed(production: Rendered) -> None:
    """Queues, rules of the network, routes, settings of a process, keys of Secrets, roles of the database."""
    changed = Rendered(copy.deepcopy(production.objects))
    found = list(pieces(changed))
    assert len(found) > 100
    missed = []
    for name, inside, key in found:
        kept = inside.pop(key)
        if not is_missed(changed):
            missed.append(name)
        inside.insert(key, kept)
    assert missed == []
    assert list(placed.problems(changed)) == [], "and all was put back"


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("RabbitmqCluster", "rabbitmq", "spec.tls.disableNonTLSListeners"),
        ("RabbitmqCluster", "rabbitmq", "spec.affinity"),
        ("RabbitmqCluster", "rabbitmq", "spec.replicas"),
        ("Cluster", "postgresql", "spec.minSyncReplicas"),
        ("Cluster", "postgresql", "spec.instances"),
        ("ObjectStore", "backups", "spec.instanceSidecarConfiguration"),
        ("CronJob", "admin", "spec.suspend"),
        ("Ingress", "portal", "metadata.annotations nginx.ingress.kubernetes.io/limit-rps"),
        ("Ingress", "portal", "metadata.annotations nginx.ingress.kubernetes.io/limit-connections"),
    ],
)
def test_what_makes_it_last_and_keeps_strangers_in_bounds_is_missed(
    kind: str, name: str, path: str, production: Rendered
) -> None:
    changed = Rendered(copy.deepcopy(production.objects))
    place: Any = changed.get(kind, name)
    dotted, _, last = path.partition(" ")
    *steps, end = [*dotted.split("."), *([last] if last else [])]
    for step in steps:
        place = place[step]
    del place[end]
    assert is_missed(changed)


def test_what_is_opened_too_far_is_found(production: Rendered) -> None:
    changed = Rendered(copy.deepcopy(production.objects))
    policy = changed.get("NetworkPolicy", "to-broker")
    del policy["spec"]["podSelector"]["matchExpressions"]
    changed.get("NetworkPolicy", "broker")["spec"]["ingress"][0]["from"][0]["podSelector"].pop("matchExpressions")
    assert any(problem.startswith("notices api reaches") for problem in placed.network(changed))


def test_where_traces_are_wanted_every_process_and_nobody_else_reaches_the_collector(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    overlay = {"resources": ["deploy/overlays/production"], "components": ["deploy/components/traces"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**overlay, "namespace": "xinhuo"}))
    traced = Rendered(render(tmp_path))
    assert list(placed.problems(traced)) == []
    assert len(placed.traced(traced)) == len(config.SERVICES) * 2

    closed = set(placed.network(traced.without("NetworkPolicy", "to-collector")))
    assert closed == {
        f"{service} {role} cannot reach {{'app.kubernetes.io/name': 'opentelemetry-collector'}} of monitoring at 4318"
        for service in config.SERVICES
        for role in ("api", "worker")
    }
    del traced.get("NetworkPolicy", "to-collector")["spec"]["podSelector"]["matchExpressions"]
    assert any(problem.startswith("admin admin reaches") for problem in placed.network(traced))


def test_production_runs_one_image_by_its_digest(production: Rendered) -> None:
    workloads = production.of_kind("Deployment") + production.of_kind("Job")
    images = {
        container["image"]
        for item in workloads
        for container in [*pod_of(item).get("initContainers", []), *pod_of(item)["containers"]]
    }
    assert len(images) == 1
    assert re.fullmatch(r"[a-z.]+/xinhuo@sha256:[0-9a-f]{64}", images.pop())


def test_no_secret_setting_has_its_value_in_the_manifests(production: Rendered) -> None:
    for item in production.of_kind("Deployment"):
        given = production.environment(pod_of(item)["containers"][0])
        assert not set(given) & set(config.secret_variables()), item["metadata"]["name"]


def test_an_overlay_that_renders_with_a_warning_is_refused(tmp_path: Any) -> None:
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\ncommonLabels: {a: b}\nresources: []\n"
    )
    with pytest.raises(BadManifests, match="deprecated"):
        render(tmp_path)


def test_the_overlay_of_ones_own_in_the_readme_renders_with_its_image_hosts_and_object_store(tmp_path: Any) -> None:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    kustomization, place = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "xinhuo").symlink_to(ROOT)
    (tmp_path / "kustomization.yaml").write_text(kustomization)
    (tmp_path / "place.yaml").write_text(place)

    rendered = Rendered(render(tmp_path))

    assert list(placed.problems(rendered)) == []
    nowhere = [item for item in rendered.objects if item["metadata"].get("namespace") != "xinhuo"]
    assert [(item["kind"], item["metadata"]["name"]) for item in nowhere] == [("Namespace", "xinhuo")]
    assert rendered.get("NetworkPolicy", "to-collector")
    hosts = {item["spec"]["rules"][0]["host"] for item in rendered.of_kind("Ingress")}
    assert hosts == {f"{service}.volunteers.city.example" for service in config.SERVICES}
    assert {item["spec"]["tls"][0]["hosts"][0] for item in rendered.of_kind("Ingress")} == hosts
    assert rendered.get("ObjectStore", "backups")["spec"]["configuration"]["endpointURL"].endswith("city.example")
    claim = rendered.get("PersistentVolumeClaim", "backup")["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("far", "200Gi")
    digest = re.search(r"digest: (\S+)", kustomization)
    assert digest is not None
    for item in rendered.of_kind("Deployment"):
        assert pod_of(item)["containers"][0]["image"] == f"registry.city.example/xinhuo@{digest[1]}"
    assert [one for one in rendered.of_kind("ConfigMap") if one["metadata"]["name"] == "place"] == []
    assert config.load({"XINHUO_SERVICE_KEY": "xhk_later"}).service_key == "xhk_later"

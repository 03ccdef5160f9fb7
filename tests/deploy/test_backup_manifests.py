"""The Jobs of backups call commands that exist, with the files that are mounted, and hold no key that they must not."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.support.documents import ROOT
from tests.support.placed import DATABASE_CA
from xinhuo.chassis.config import IN_FILE, secret_variables
from xinhuo.cli.main import app

COMPONENT = ROOT / "deploy" / "components" / "backup"
JOBS = (COMPONENT / "nightly.yaml", COMPONENT / "erasures.yaml", ROOT / "deploy" / "backup" / "restore.yaml")


def pod_of(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec = found["spec"]
    job = spec["jobTemplate"]["spec"] if found["kind"] == "CronJob" else spec
    pod: dict[str, Any] = job["template"]["spec"]
    return pod


def containers_of(path: Path) -> list[dict[str, Any]]:
    pod = pod_of(path)
    return [*pod.get("initContainers", []), *pod["containers"]]


def secrets_of(path: Path) -> dict[str, set[str]]:
    """Return the files of each Secret that the pod has."""
    found: dict[str, set[str]] = {}
    for volume in pod_of(path)["volumes"]:
        sources = volume.get("projected", {}).get("sources", [])
        for secret in [*(source["secret"] for source in sources), *([volume["secret"]] if "secret" in volume else [])]:
            name = secret.get("secretName") or secret["name"]
            found.setdefault(name, set()).update(item["path"] for item in secret["items"])
    return found


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_each_job_calls_a_command_that_exists_with_options_that_it_has_and_files_that_are_there(path: Path) -> None:
    for one in containers_of(path):
        assert DATABASE_CA in {mount["mountPath"] + "/ca.crt" for mount in one["volumeMounts"]}
    mounted = {"/run/secrets/xinhuo/" + file for files in secrets_of(path).values() for file in files}
    for container in containers_of(path):
        command: Any = get_command(app)
        words = list(container["args"])
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        context = command.make_context("x", words)  # raises for an option that is not there, or one that is missing
        given = {str(value) for value in context.params.values() if value}
        named = {variable["name"]: variable["value"] for variable in container["env"]}
        files = {value for name, value in named.items() if name.endswith((IN_FILE, "_KEY_FILE"))}
        assert {name.removesuffix(IN_FILE) for name in named if name.endswith(IN_FILE)} - {"XINHUO_KEY"} <= set(
            secret_variables()
        )
        assert {one for one in given | files if one.startswith("/run/")} <= mounted
        assert {one for one in given if one.startswith("/backup")} == {"/backup"}
        assert {"name": "backup", "mountPath": "/backup"} in container["volumeMounts"]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_each_job_runs_without_any_right_that_it_does_not_need(path: Path) -> None:
    pod = pod_of(path)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in containers_of(path):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_what_makes_backups_has_neither_the_key_of_the_data_nor_the_one_that_opens_backups() -> None:
    for path in JOBS[:2]:
        assert secrets_of(path).keys() == {"backup-secrets", "postgresql-ca"}
        assert set.union(*secrets_of(path).values()) <= {"database-url", "recipient", "ca.crt"}
    assert {"xinhuo-master-key", "backup-identity"} < secrets_of(JOBS[2]).keys()


def test_the_alert_finds_the_job_of_the_night_by_its_name() -> None:
    found = yaml.safe_load(JOBS[0].read_text(encoding="utf-8"))

    assert (found["kind"], found["metadata"]["name"]) == ("CronJob", "backup")
    assert found["spec"]["concurrencyPolicy"] == "Forbid"
    assert [container["args"][1] for container in containers_of(JOBS[0])] == ["create", "verify"]


def test_every_file_of_the_folder_is_in_the_component() -> None:
    listed = yaml.safe_load((COMPONENT / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]

    assert set(listed) == {path.name for path in COMPONENT.glob("*.yaml")} - {"kustomization.yaml"}

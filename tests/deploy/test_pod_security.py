"""The check of pods knows every rule of the standard "restricted": one pod that keeps all, and one that breaks each."""

import copy
from typing import Any

import pytest

from tools.deploy_check import pod_security

GOOD: dict[str, Any] = {
    "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/api": "runtime/default"}},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}],
            "seLinuxOptions": {"type": "container_t"},
        },
        "containers": [
            {
                "name": "api",
                "ports": [{"containerPort": 8080}],
                "livenessProbe": {"httpGet": {"port": 8080, "path": "/healthz"}},
                "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                },
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "secrets", "secret": {"secretName": "a"}}],
    },
}
CONTAINER = ("spec", "containers", 0)
CONTEXT = (*CONTAINER, "securityContext")
POD_CONTEXT = ("spec", "securityContext")
#: What breaks which rule: where, and what stands there.
BREAKS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("HostProcess", (*POD_CONTEXT, "windowsOptions"), {"hostProcess": True}),
    ("HostProcess", (*CONTEXT, "windowsOptions"), {"hostProcess": True}),
    ("Host Namespaces", ("spec", "hostNetwork"), True),
    ("Host Namespaces", ("spec", "hostPID"), True),
    ("Host Namespaces", ("spec", "hostIPC"), True),
    ("Privileged Containers", (*CONTEXT, "privileged"), True),
    ("Capabilities", (*CONTEXT, "capabilities"), None),
    ("Capabilities", (*CONTEXT, "capabilities", "drop"), ["NET_RAW"]),
    ("Capabilities", (*CONTEXT, "capabilities", "add"), ["SYS_ADMIN"]),
    ("Volume Types", ("spec", "volumes", 0), {"name": "host", "hostPath": {"path": "/"}}),
    ("Volume Types", ("spec", "volumes", 0), {"name": "far", "nfs": {"server": "a", "path": "/"}}),
    ("Host Ports", (*CONTAINER, "ports", 0, "hostPort"), 80),
    ("Host Probes / Lifecycle Hooks", (*CONTAINER, "livenessProbe", "httpGet", "host"), "other.example"),
    (
        "Host Probes / Lifecycle Hooks",
        (*CONTAINER, "startupProbe"),
        {"tcpSocket": {"port": 1, "host": "other.example"}},
    ),
    ("Host Probes / Lifecycle Hooks", (*CONTAINER, "lifecycle"), {"preStop": {"httpGet": {"port": 1, "host": "a"}}}),
    ("AppArmor", ("metadata", "annotations", "container.apparmor.security.beta.kubernetes.io/api"), "unconfined"),
    ("AppArmor", (*POD_CONTEXT, "appArmorProfile"), {"type": "Unconfined"}),
    ("SELinux", (*POD_CONTEXT, "seLinuxOptions", "type"), "spc_t"),
    ("SELinux", (*CONTEXT, "seLinuxOptions"), {"user": "system_u"}),
    ("SELinux", (*CONTEXT, "seLinuxOptions"), {"role": "system_r"}),
    ("/proc Mount Type", (*CONTEXT, "procMount"), "Unmasked"),
    ("Sysctls", (*POD_CONTEXT, "sysctls", 0, "name"), "kernel.msgmax"),
    ("Privilege Escalation", (*CONTEXT, "allowPrivilegeEscalation"), True),
    ("Privilege Escalation", (*CONTEXT, "allowPrivilegeEscalation"), None),
    ("Running as Non-root", (*POD_CONTEXT, "runAsNonRoot"), None),
    ("Running as Non-root", (*CONTEXT, "runAsNonRoot"), False),
    ("Running as Non-root user", (*POD_CONTEXT, "runAsUser"), 0),
    ("Running as Non-root user", (*CONTEXT, "runAsUser"), 0),
    ("Seccomp", (*POD_CONTEXT, "seccompProfile"), None),
    ("Seccomp", (*POD_CONTEXT, "seccompProfile"), {"type": "Unconfined"}),
    ("Seccomp", (*CONTEXT, "seccompProfile"), {"type": "Unconfined"}),
    ("Read-only root file system", (*CONTEXT, "readOnlyRootFilesystem"), None),
    ("No token of Kubernetes", ("spec", "automountServiceAccountToken"), None),
    ("Bounds", (*CONTAINER, "resources", "limits"), None),
    ("Bounds", (*CONTAINER, "resources", "requests"), {"cpu": "50m"}),
]


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    pod = copy.deepcopy(GOOD)
    place: Any = pod
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return pod


def test_a_pod_that_keeps_every_rule_is_fine() -> None:
    assert list(pod_security.broken(GOOD)) == []


@pytest.mark.parametrize(("rule", "path", "value"), BREAKS, ids=lambda part: str(part)[:60])
def test_a_pod_that_breaks_one_rule_is_told_which(rule: str, path: tuple[Any, ...], value: Any) -> None:
    assert {name for name, _ in pod_security.broken(changed(path, value))} == {rule}


@pytest.mark.parametrize("kind", ["initContainers", "ephemeralContainers"])
def test_containers_of_every_kind_are_looked_at(kind: str) -> None:
    pod = copy.deepcopy(GOOD)
    pod["spec"][kind] = [{"name": "other"}]
    expected = {"Capabilities", "Privilege Escalation", "Read-only root file system", "Bounds"}
    assert {name for name, _ in pod_security.broken(pod)} == expected


def test_every_rule_is_seen_to_be_broken() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(pod_security.RULES)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"template": GOOD}),
        ("StatefulSet", {"template": GOOD}),
        ("Job", {"template": GOOD}),
        ("CronJob", {"jobTemplate": {"spec": {"template": GOOD}}}),
    ],
)
def test_pods_are_found_in_whatever_makes_them(kind: str, spec: dict[str, Any]) -> None:
    assert pod_security.pod_of({"kind": kind, "spec": spec}) == GOOD
    assert pod_security.pod_of({"kind": "ConfigMap"}) is None

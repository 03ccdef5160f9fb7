"""Each pod keeps every rule of Kubernetes' Pod Security Standard "restricted", which holds those of "baseline", too.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (as of Kubernetes 1.34), in its order; then
what we ask of our own pods beyond it. A namespace with our pods must enforce the standard itself.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import rendered
from .found import Found

Pod = dict[str, Any]
"""A template of a pod: ``metadata`` and ``spec``."""

ENFORCE = "pod-security.kubernetes.io/enforce"
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SELINUX = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def check(root: Path) -> Found:
    """Check each pod of each build, and each namespace."""
    found = Found()
    for item in rendered.items(root, found):
        if item.body.get("kind") == "Namespace":
            if (item.body["metadata"].get("labels") or {}).get(ENFORCE) != "restricted":
                found.problem(item.where, f"the label {ENFORCE} is not restricted", "set it")
            found.count("namespaces")
        pod = pod_of(item.body)
        if pod is None:
            continue
        found.count("pods")
        for name, wrong in broken(pod):
            found.problem(item.where, f"{name}: {wrong}", "see the Pod Security Standards, restricted")
    return found


def pod_of(body: dict[str, Any]) -> Pod | None:
    """Return the template of an object's pods, if it makes any."""
    spec = body.get("spec") or {}
    match body.get("kind"):
        case "Pod":
            return body
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job":
            template: Pod = spec.get("template") or {}
            return template
        case "CronJob":
            template = spec.get("jobTemplate", {}).get("spec", {}).get("template") or {}
            return template
    return None


def broken(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield the name of each rule that a pod breaks, and where."""
    for name, rule in RULES.items():
        for wrong in rule(pod):
            yield name, wrong


def _containers(pod: Pod) -> Iterator[tuple[str, dict[str, Any]]]:
    spec = pod.get("spec") or {}
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or []:
            yield f"{kind}[{container.get('name')}]", container


def _contexts(pod: Pod) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the security contexts: of the pod, then of each container."""
    yield "spec", (pod.get("spec") or {}).get("securityContext") or {}
    for where, container in _containers(pod):
        yield where, container.get("securityContext") or {}


def _inherited(pod: Pod, field: str) -> Iterator[tuple[str, Any]]:
    """Yield what holds for each container: its own field, or else the pod's."""
    contexts = list(_contexts(pod))
    for where, context in contexts[1:]:
        yield where, context[field] if context.get(field) is not None else contexts[0][1].get(field)


def _host_process(pod: Pod) -> Iterator[str]:
    for where, context in _contexts(pod):
        if (context.get("windowsOptions") or {}).get("hostProcess"):
            yield f"{where}: hostProcess"


def _host_namespaces(pod: Pod) -> Iterator[str]:
    spec = pod.get("spec") or {}
    yield from (field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field))


def _privileged(pod: Pod) -> Iterator[str]:
    yield from (where for where, context in _contexts(pod) if context.get("privileged"))


def _capabilities(pod: Pod) -> Iterator[str]:
    for where, container in _containers(pod):
        capabilities = (container.get("securityContext") or {}).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []):
            yield f"{where}: drop must hold ALL"
        for added in capabilities.get("add") or []:
            if added != "NET_BIND_SERVICE":
                yield f"{where}: adds {added}"


def _volumes(pod: Pod) -> Iterator[str]:
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume.get('name')}: {kind}"


def _host_ports(pod: Pod) -> Iterator[str]:
    for where, container in _containers(pod):
        yield from (
            f"{where}: hostPort {port['hostPort']}" for port in container.get("ports") or [] if port.get("hostPort")
        )


def _probe_hosts(pod: Pod) -> Iterator[str]:
    for where, container in _containers(pod):
        lifecycle = container.get("lifecycle") or {}
        handlers = {name: container.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")}
        handlers |= {name: lifecycle.get(name) for name in ("postStart", "preStop")}
        for name, handler in handlers.items():
            for way in ("httpGet", "tcpSocket"):
                if ((handler or {}).get(way) or {}).get("host"):
                    yield f"{where}: {name}.{way}.host"


def _apparmor(pod: Pod) -> Iterator[str]:
    for name, value in ((pod.get("metadata") or {}).get("annotations") or {}).items():
        if name.startswith(_APPARMOR) and value != "runtime/default" and not value.startswith("localhost/"):
            yield f"annotation {name}: {value}"
    for where, context in _contexts(pod):
        profile = context.get("appArmorProfile")
        if profile is not None and profile.get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{where}: appArmorProfile {profile.get('type')}"


def _selinux(pod: Pod) -> Iterator[str]:
    for where, context in _contexts(pod):
        options = context.get("seLinuxOptions") or {}
        if options.get("type") not in _SELINUX:
            yield f"{where}: seLinuxOptions.type {options['type']}"
        yield from (f"{where}: seLinuxOptions.{name}" for name in ("user", "role") if options.get(name))


def _proc_mount(pod: Pod) -> Iterator[str]:
    yield from (where for where, context in _contexts(pod) if context.get("procMount") not in {None, "", "Default"})


def _sysctls(pod: Pod) -> Iterator[str]:
    context = (pod.get("spec") or {}).get("securityContext") or {}
    yield from (one["name"] for one in context.get("sysctls") or [] if one["name"] not in _SYSCTLS)


def _escalation(pod: Pod) -> Iterator[str]:
    for where, container in _containers(pod):
        if (container.get("securityContext") or {}).get("allowPrivilegeEscalation") is not False:
            yield f"{where}: allowPrivilegeEscalation must be false"


def _non_root(pod: Pod) -> Iterator[str]:
    yield from (
        f"{where}: runAsNonRoot must be true" for where, value in _inherited(pod, "runAsNonRoot") if value is not True
    )


def _user(pod: Pod) -> Iterator[str]:
    yield from (f"{where}: runAsUser 0" for where, context in _contexts(pod) if context.get("runAsUser") == 0)


def _seccomp(pod: Pod) -> Iterator[str]:
    allowed = {"RuntimeDefault", "Localhost"}
    for where, profile in _inherited(pod, "seccompProfile"):
        if (profile or {}).get("type") not in allowed:
            yield f"{where}: seccompProfile must be RuntimeDefault or Localhost"
    # Wrong for the pod is wrong, even when each container has its own.
    profile = next(_contexts(pod))[1].get("seccompProfile")
    if profile is not None and profile.get("type") not in allowed:
        yield f"spec: seccompProfile {profile.get('type')}"


def _read_only_root(pod: Pod) -> Iterator[str]:
    for where, container in _containers(pod):
        if (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where}: readOnlyRootFilesystem must be true"


def _no_token(pod: Pod) -> Iterator[str]:
    if (pod.get("spec") or {}).get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken must be false: no process of ours asks Kubernetes"


def _memory(pod: Pod) -> Iterator[str]:
    for where, container in _containers(pod):
        resources = container.get("resources") or {}
        if not (resources.get("limits") or {}).get("memory"):
            yield f"{where}: resources.limits.memory is missing"
        for name in ("cpu", "memory"):
            if not (resources.get("requests") or {}).get(name):
                yield f"{where}: resources.requests.{name} is missing"


#: The rules by the names that the standard gives them; the last three are ours.
RULES: dict[str, Callable[[Pod], Iterator[str]]] = {
    "HostProcess": _host_process,
    "Host Namespaces": _host_namespaces,
    "Privileged Containers": _privileged,
    "Capabilities": _capabilities,
    "Volume Types": _volumes,
    "Host Ports": _host_ports,
    "Host Probes / Lifecycle Hooks": _probe_hosts,
    "AppArmor": _apparmor,
    "SELinux": _selinux,
    "/proc Mount Type": _proc_mount,
    "Sysctls": _sysctls,
    "Privilege Escalation": _escalation,
    "Running as Non-root": _non_root,
    "Running as Non-root user": _user,
    "Seccomp": _seccomp,
    "Read-only root file system": _read_only_root,
    "No token of Kubernetes": _no_token,
    "Bounds": _memory,
}

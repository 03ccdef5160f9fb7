"""What the code needs of a rendered overlay: each process, queue, right, route, call and secret has its place in it.

Each function yields what is missing or too much, as sentences; nothing here repeats what the code can tell.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from tests.support.pods import ROOT, Object, Rendered, pod_of
from tools import manifests
from tools.deploy_check.settings import LEFT, known
from xinhuo.chassis import broker_rights, config
from xinhuo.chassis.markers import Http, marked
from xinhuo.chassis.reconcile.entrypoints import NightlyReconciliation
from xinhuo.chassis.roles import role_of
from xinhuo.cli import build, installing
from xinhuo.cli.process import ROLES

Labels = Mapping[str, str]
NAME, COMPONENT, ROLE = "app.kubernetes.io/name", "app.kubernetes.io/component", "xinhuo.role"
SECRETS = "/run/secrets/xinhuo/"
NGINX = "nginx.ingress.kubernetes.io"
DEPLOY = "deploy-secrets"
#: Secrets that nobody fetches from a vault: cert-manager makes these, and CloudNativePG the last.
CERTIFICATES = re.compile(r"(rabbitmq|" + "|".join(config.SERVICES) + r")-tls|postgresql-ca")
#: What addresses with `sslmode=verify-full` name as `sslrootcert`.
DATABASE_CA = "/run/secrets/database-ca/ca.crt"


def problems(rendered: Rendered) -> Iterator[str]:
    """Yield everything that is wrong with a complete overlay."""
    checks = (
        processes, bounds, once, backups, configuration, scaling, broker, database, secrets, routes, monitoring, network
    )  # fmt: skip
    for check in checks:
        yield from check(rendered)


def workload_of(rendered: Rendered, service: str, role: str) -> Object | None:
    """Return the Deployment that runs a role of a service."""
    found = [
        item
        for item in rendered.of_kind("Deployment")
        if pod_of(item)["containers"][0]["args"][:4] == ["serve", service, "--role", role]
    ]
    return found[0] if len(found) == 1 else None


def labels_of(workload: Object) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


# --- Processes ------------------------------------------------------------------------------------------


def processes(rendered: Rendered) -> Iterator[str]:
    """Each role of each service has a Deployment, an address, a budget for disruptions, an account."""
    for service in config.SERVICES:
        for role in ROLES:
            workload = workload_of(rendered, service, role)
            if workload is None:
                yield f"{service} {role}: not one Deployment"
                continue
            labels, pod = labels_of(workload), pod_of(workload)
            if labels.get(COMPONENT) != service or labels.get(ROLE) != role:
                yield f"{service} {role}: its labels say {labels}"
            for kind in ("Service", "PodDisruptionBudget"):
                if len(selecting := [item for item in rendered.of_kind(kind) if _selects(item, labels)]) != 1:
                    yield f"{service} {role}: {len(selecting)} objects {kind}"
            accounts = [one["metadata"]["name"] for one in rendered.of_kind("ServiceAccount")]
            if pod["serviceAccountName"] not in accounts or pod["automountServiceAccountToken"]:
                yield f"{service} {role}: no account of its own, or with a token"
            yield from _careful(f"{service} {role}", workload, rendered)
    for service in config.SERVICES:
        wanted = config.URL_OF.format(service.upper())
        addresses = {f"http://{one['metadata']['name']}" for one in rendered.of_kind("Service")}
        if not {_settings(rendered).get(wanted)} <= addresses:
            yield f"{wanted}: no Service of that name"


def _selects(item: Object, labels: Labels) -> bool:
    selector = item["spec"].get("selector") or {}
    return bool(selector.get("matchLabels", selector).items() <= labels.items())


def _careful(who: str, workload: Object, rendered: Rendered) -> Iterator[str]:
    """Nobody is without an answer while it is exchanged, and what is in flight has time to end."""
    pod = pod_of(workload)
    (container,) = pod["containers"]
    rolling = workload["spec"]["strategy"]["rollingUpdate"]
    if (rolling["maxUnavailable"], rolling["maxSurge"]) != (0, 1):
        yield f"{who}: {rolling}"
    given = _given(rendered, container)
    seconds = int(given.get("XINHUO_LEAVE_SECONDS", 0)) + int(given.get("XINHUO_DRAIN_SECONDS", 30))
    if seconds >= pod["terminationGracePeriodSeconds"]:
        yield f"{who}: killed before its {seconds} s are over"
    probe = container["readinessProbe"]
    if probe["periodSeconds"] * probe.get("failureThreshold", 3) >= int(given.get("XINHUO_LEAVE_SECONDS", 0)):
        yield f"{who}: stops before its readiness probe can have noticed"
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    if paths != {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}:
        yield f"{who}: {paths}"
    if {one["topologyKey"] for one in pod.get("topologySpreadConstraints", [])} != {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }:
        yield f"{who}: not spread over machines and zones"


def bounds(rendered: Rendered) -> Iterator[str]:
    """The namespace enforces Pod Security, and has a quota and defaults."""
    for kind in ("Namespace", "ResourceQuota", "LimitRange"):
        if len(rendered.of_kind(kind)) != 1:
            yield f"not one {kind}"


def once(rendered: Rendered) -> Iterator[str]:
    """Tables are brought up to date before queues are declared, by a Job."""
    jobs = [item for item in rendered.of_kind("Job") if item["metadata"]["name"] == "migrate"]
    if len(jobs) != 1:
        yield "no Job migrate"
        return
    pod = pod_of(jobs[0])
    if [one["args"] for one in pod["initContainers"] + pod["containers"]] != [["db", "upgrade"], ["topology", "apply"]]:
        yield "the Job migrate does something else"
    if pod["serviceAccountName"] not in [one["metadata"]["name"] for one in rendered.of_kind("ServiceAccount")]:
        yield "the Job migrate has no account"
    wanted = {
        "db-upgrade": {(DEPLOY, "database-url")} | ({("postgresql-ca", "ca.crt")} & _of_servers(rendered)),
        "topology-apply": {(DEPLOY, "amqp-uri")} | ({("rabbitmq-tls", "ca.crt")} & _of_servers(rendered)),
    }
    for container in pod["initContainers"] + pod["containers"]:
        given = {what for what in dict(_mounted(pod, container)).values() if what[1] != "rabbitmq-api"}
        needed = wanted[container["name"]]
        if {what for what in given if what[0] == DEPLOY or what[1] == "ca.crt"} != needed:
            yield f"the Job migrate: {container['name']} is given {sorted(given)}, needs {sorted(needed)}"
    places = [item["spec"] for item in rendered.of_kind("CronJob") if item["metadata"]["name"] == "admin"]
    if len(places) != 1 or not places[0].get("suspend"):
        yield "no place for whoever administers, or one that runs by itself"
        return
    pod = places[0]["jobTemplate"]["spec"]["template"]["spec"]
    given = set(dict(_mounted(pod, pod["containers"][0])).values())
    needed = {(DEPLOY, key) for key in manifests.secrets()[DEPLOY]} | {("xinhuo-master-key", "master.key")}
    needed |= {(f"{service}-secrets", "amqp-uri") for service in config.SERVICES}  # as `topology apply` keeps them
    if given != needed | _of_servers(rendered):
        yield f"whoever administers is given {sorted(given)}"


def backups(rendered: Rendered) -> Iterator[str]:
    """A backup is made and read back every night, who was erased is noted, and neither can open a backup."""
    jobs = {item["metadata"]["name"]: item["spec"] for item in rendered.of_kind("CronJob")}
    address, recipient = ("backup-secrets", "database-url"), ("backup-secrets", "recipient")
    wanted = {"backup": (["create", "verify"], {address, recipient}), "backup-erasures": (["erasures"], {address})}
    for name, (commands, needed) in wanted.items():
        if name not in jobs or jobs[name].get("suspend"):
            yield f"no CronJob {name}, or one that never runs"
            continue
        template = jobs[name]["jobTemplate"]["spec"]["template"]
        pod, labels = template["spec"], template["metadata"]["labels"]
        if labels != {**labels, NAME: "xinhuo", COMPONENT: "backup", ROLE: "backup"}:
            yield f"{name}: its labels say {labels}"
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        if [one["args"][:2] for one in containers] != [["backup", command] for command in commands]:
            yield f"{name}: does something else"
        accounts = [one["metadata"]["name"] for one in rendered.of_kind("ServiceAccount")]
        if pod["serviceAccountName"] not in accounts:
            yield f"{name}: no account"
        claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
        if not claims or not claims <= {one["metadata"]["name"] for one in rendered.of_kind("PersistentVolumeClaim")}:
            yield f"{name}: no volume for backups"
        for container in containers:
            mounted = dict(_mounted(pod, container))
            if mounted.pop(DATABASE_CA, None) != ("postgresql-ca", "ca.crt"):
                yield f"{name}: cannot know PostgreSQL by its certificate"
            if set(mounted.values()) != needed:
                yield f"{name}: is given {sorted(mounted.values())}, needs {sorted(needed)}"


def _of_servers(rendered: Rendered) -> set[tuple[str, str]]:
    """Return the Secrets and keys with the authorities of the servers inside."""
    found = {"RabbitmqCluster": ("rabbitmq-tls", "ca.crt"), "Cluster": ("postgresql-ca", "ca.crt")}
    return {what for kind, what in found.items() if rendered.of_kind(kind)}


# --- Settings -------------------------------------------------------------------------------------------


def _settings(rendered: Rendered) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in rendered.of_kind("ConfigMap"):
        if item["metadata"]["name"].startswith("xinhuo-settings"):
            found |= item["data"]
    return found


def _given(rendered: Rendered, container: Object) -> dict[str, str]:
    try:
        return rendered.environment(container)
    except KeyError:  # the ConfigMap is not there
        return {}


#: Settings of the components oidc, for offices with a directory, and traces, for those with a collector.
OF_COMPONENTS = {
    item.metadata["variable"] for item in fields(config.Settings) if item.name.startswith(("oidc_", "otlp_"))
}


def configuration(rendered: Rendered, settings: Iterable[str] = ()) -> Iterator[str]:
    """Each setting is given to all processes, or as a file to those that need it, or is left with a reason."""
    for name in sorted(known() | set(settings)):
        if name in LEFT or name in OF_COMPONENTS or name in config.secret_variables():
            continue
        if name not in _settings(rendered):
            yield f"{name}: not in xinhuo-settings"
    for service in config.SERVICES:
        for role in ROLES:
            workload = workload_of(rendered, service, role)
            if workload is None:
                continue
            (container,) = pod_of(workload)["containers"]
            given = _given(rendered, container)
            wanted = secret_settings_of(service, role)
            if role == "worker" and rendered.of_kind("RabbitmqCluster"):
                wanted["SSL_CERT"] = ("rabbitmq-tls", "ca.crt")
            files = {name.removesuffix(config.IN_FILE): path for name, path in given.items() if name.endswith("_FILE")}
            if files.pop("XINHUO_KEY", None) != f"{SECRETS}master.key":
                yield f"{service} {role}: is told of no master key"
            mounted = dict(_mounted(pod_of(workload), container))
            for name in sorted(wanted.keys() | files.keys()):
                path = files.get(name, "")
                if mounted.get(path) != wanted.get(name):
                    yield f"{service} {role}: {name} from {mounted.get(path)}, not {wanted.get(name)}"
            if mounted.pop(f"{SECRETS}master.key", None) != ("xinhuo-master-key", "master.key"):
                yield f"{service} {role}: no master key"
            if rendered.of_kind("Cluster") and mounted.pop(DATABASE_CA, None) != ("postgresql-ca", "ca.crt"):
                yield f"{service} {role}: cannot know PostgreSQL by its certificate"
            if set(mounted.values()) != set(wanted.values()):
                yield f"{service} {role}: is given {sorted(mounted.values())}, needs {sorted(wanted.values())}"


def secret_settings_of(service: str, role: str) -> dict[str, tuple[str, str]]:
    """Return the secret settings that a process needs, with Secret and key; no process gets more."""
    secret = f"{service}-secrets"
    found = {"DATABASE_URL": (secret, "database-url")}
    if role == "worker":
        found["AMQP_URI"] = (secret, "amqp-uri")
        if service in installing.ASKS:
            found["XINHUO_SERVICE_KEY"] = (secret, "service-key")
    return found


def _mounted(pod: Object, container: Object) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the files that a container is given, with Secret and key."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        for source in volumes[mount["name"]].get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                yield f"{mount['mountPath']}/{item['path']}", (source["secret"]["name"], item["key"])


# --- Network --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Party:
    """Somebody in the network: labels of his pod and of his namespace."""

    labels: Labels
    namespace: str = "xinhuo"

    def __hash__(self) -> int:
        return hash((*sorted(self.labels.items()), self.namespace))


def _of(who: str, role: str) -> Party:
    return Party({NAME: "xinhuo", COMPONENT: who, ROLE: role})


BROKER = Party({NAME: "rabbitmq"})
POSTGRESQL = Party({"cnpg.io/cluster": "postgresql"})
PROMETHEUS = Party({NAME: "prometheus"}, "monitoring")
INGRESS = Party({NAME: "ingress-nginx"}, "ingress-nginx")
DNS = Party({"k8s-app": "kube-dns"}, "kube-system")
KEDA = Party({}, "keda")
COLLECTOR = Party({NAME: "opentelemetry-collector"}, "monitoring")
STRANGER = Party({"app": "stranger"}, "elsewhere")
HTTP: int | str = "http"


@functools.cache
def calls() -> set[tuple[Party, Party, int | str]]:
    """Return who must reach whom, at which port."""
    found: set[tuple[Party, Party, int | str]] = set()
    everybody = [_of(service, role) for service in config.SERVICES for role in ROLES]
    everybody += [_of("migrate", "migrate"), _of("admin", "admin"), _of("backup", "backup")]
    for party in everybody:
        found |= {(party, POSTGRESQL, 5432), (party, DNS, 53)}
        if party.labels[ROLE] not in ("api", "backup"):
            found.add((party, BROKER, 5671))
        if party.labels[ROLE] in ROLES:
            found.add((PROMETHEUS, party, HTTP))
    found.add((_of("admin", "admin"), BROKER, 15671))
    portal = _of(build.PORTAL, "api")
    for service in config.SERVICES:
        found.add((INGRESS, _of(service, "api"), HTTP))
        if service != build.PORTAL:
            found.add((_of(service, "api"), portal, HTTP))  # the keys that tokens are checked with
        kind = build.service_class(service)
        copies = kind.copies if issubclass(kind, NightlyReconciliation) else ()
        asked = {copy.publisher for copy in copies} | ({build.PORTAL} if service in installing.ASKS else set())
        found |= {(_of(service, "worker"), _of(publisher, "api"), HTTP) for publisher in asked}
    for service in config.SERVICES:
        if manifests.work_queues(service):
            found.add((KEDA, BROKER, 5671))
    found |= {(BROKER, BROKER, 25672), (POSTGRESQL, POSTGRESQL, 5432), (PROMETHEUS, BROKER, 15691)}
    found |= {(BROKER, DNS, 53), (POSTGRESQL, DNS, 53), (PROMETHEUS, POSTGRESQL, 9187)}
    return found


def traced(rendered: Rendered) -> set[tuple[Party, Party, int | str]]:
    """Return who must reach the collector of traces, where the settings name one: whatever answers or handles."""
    if (endpoint := _settings(rendered).get("OTEL_EXPORTER_OTLP_ENDPOINT")) is None:
        return set()
    address = urlsplit(endpoint)
    collector = Party(COLLECTOR.labels, (address.hostname or "").split(".")[1])
    return {(_of(service, role), collector, address.port or 80) for service in config.SERVICES for role in ROLES}


def network(rendered: Rendered) -> Iterator[str]:
    """Whoever must reach somebody can, and nobody of ours reaches or is reached by anybody else."""
    wanted, policies = calls() | traced(rendered), rendered.of_kind("NetworkPolicy")
    parties = sorted({party for call in wanted for party in call[:2]} | {STRANGER, COLLECTOR}, key=repr)
    ports = sorted({port for *_, port in wanted} | {5672, 443, 4318}, key=str)
    out = {party: _rules(policies, "egress", party) for party in parties}
    into = {party: _rules(policies, "ingress", party) for party in parties}
    for source in parties:
        for target in parties:
            for port in ports:
                is_wanted = (source, target, port) in wanted
                may = _allowed(out[source], "to", target, port) and _allowed(into[target], "from", source, port)
                if is_wanted and not may:
                    yield f"{_who(source)} cannot reach {_who(target)} at {port}"
                if may and not is_wanted and _ours(source, target):
                    yield f"{_who(source)} reaches {_who(target)} at {port}"


def _rules(policies: Iterable[Object], side: str, party: Party) -> list[Object] | None:
    """Return the rules of NetworkPolicies for what leaves or enters a pod; None where nothing is refused."""
    if party.namespace != "xinhuo":
        return None
    specs = [one["spec"] for one in policies if side.capitalize() in one["spec"]["policyTypes"]]
    ours = [spec for spec in specs if _matches(spec["podSelector"], party.labels)]
    return [rule for spec in ours for rule in spec.get(side, [])] if ours else None


def _allowed(rules: list[Object] | None, field: str, there: Party, port: int | str) -> bool:
    return rules is None or any(
        (not rule.get(field) or any(_is_peer(peer, there) for peer in rule[field]))
        and (not rule.get("ports") or any(_is_port(one, port) for one in rule["ports"]))
        for rule in rules
    )


def _is_peer(peer: Object, party: Party) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": party.namespace}):
            return False
    elif party.namespace != "xinhuo":
        return False
    return _matches(peer.get("podSelector", {}), party.labels)


def _is_port(one: Object, port: int | str) -> bool:
    first = one["port"]
    if isinstance(first, int) and isinstance(port, int):
        return bool(first <= port <= one.get("endPort", first))
    return bool(first == port)


def _matches(selector: Object, labels: Labels) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for one in selector.get("matchExpressions", []):
        value = labels.get(one["key"])
        if one["operator"] == "In" and value not in one["values"]:
            return False
        if one["operator"] == "NotIn" and value in one["values"]:
            return False
    return True


def _ours(*parties: Party) -> bool:
    return any(party.labels.get(NAME) == "xinhuo" and party.namespace == "xinhuo" for party in parties)


def _who(party: Party) -> str:
    found = [party.labels[key] for key in (COMPONENT, ROLE) if key in party.labels]
    return " ".join(found) or f"{dict(party.labels)} of {party.namespace}"


# --- Scaling --------------------------------------------------------------------------------------------


def scaling(rendered: Rendered) -> Iterator[str]:
    """Each queue of work scales the workers that read it, each api by its CPU, and no number is set by two."""
    for service in config.SERVICES:
        for role in ROLES:
            name, queues = f"{service}-{role}", manifests.work_queues(service)
            kind = "HorizontalPodAutoscaler" if role == "api" else "ScaledObject" if queues else None
            workload = workload_of(rendered, service, role)
            if workload is not None and ("replicas" in workload["spec"]) != (kind is None):
                yield f"{name}: its number is set by nobody, or by two"
            if kind is None:
                continue
            scalers = [one for one in rendered.of_kind(kind) if one["spec"]["scaleTargetRef"]["name"] == name]
            if len(scalers) != 1:
                yield f"{name}: not one {kind}"
                continue
            if role == "api":
                if [one["resource"]["name"] for one in scalers[0]["spec"]["metrics"]] != ["cpu"]:
                    yield f"{name}: not scaled by CPU"
                continue
            triggers = scalers[0]["spec"]["triggers"]
            watched = [one["metadata"]["queueName"] for one in triggers if one["type"] == "rabbitmq"]
            for queue in {*watched} ^ {*queues}:
                yield f"{name}: the queue {queue} is not scaled on, or is none of its own"
            known_ways = [one["metadata"]["name"] for one in rendered.of_kind("TriggerAuthentication")]
            if any(one["authenticationRef"]["name"] not in known_ways for one in triggers):
                yield f"{name}: KEDA is given no address of the broker"


# --- Broker, database, secrets --------------------------------------------------------------------------


def broker(rendered: Rendered) -> Iterator[str]:
    """Each service has a user with the rights that the code derives from the topology, and no more."""
    topology = build.full_topology()
    wanted = {service: broker_rights.of_service(service, topology) for service in config.SERVICES}
    wanted["deploy"] = broker_rights.Rights(".*", ".*", ".*")
    users = {item["metadata"]["name"] for item in rendered.of_kind("User")}
    for user in users ^ wanted.keys():
        yield f"user {user}: missing, or of nobody"
    for user, rights in wanted.items():
        there = [one["spec"]["permissions"] for one in rendered.of_kind("Permission") if _is_of(one, user)]
        if there != [rights.patterns()]:
            yield f"user {user}: may {there}, needs {rights.patterns()}"
        keys = {
            one["spec"]["permissions"]["exchange"]: one["spec"]["permissions"]["write"]
            for one in rendered.of_kind("TopicPermission")
            if _is_of(one, user)
        }
        if keys != rights.keys:
            yield f"user {user}: writes with keys {keys}, needs {rights.keys}"
    for policy in broker_rights.policies():
        kind = "OperatorPolicy" if policy.operator else "Policy"
        found = [(one["spec"]["pattern"], one["spec"]["definition"]) for one in rendered.of_kind(kind)]
        if (policy.pattern, policy.definition) not in found:
            yield f"{kind} {policy.name}: missing, or another"
    for kind in ("RabbitmqCluster", "Vhost"):
        if len(rendered.of_kind(kind)) != 1:
            yield f"not one {kind}"
    for item in rendered.of_kind("RabbitmqCluster"):
        if item["spec"].get("replicas", 1) < 3 or not item["spec"].get("affinity", {}).get("podAntiAffinity"):
            yield "the broker does not outlive a machine"
        if not item["spec"].get("tls", {}).get("disableNonTLSListeners"):
            yield "the broker is reached without TLS"
    budgets = [one["spec"]["selector"]["matchLabels"] for one in rendered.of_kind("PodDisruptionBudget")]
    if dict(BROKER.labels) not in budgets:
        yield "no budget for disruptions of the broker"


def _is_of(item: Object, user: str) -> bool:
    return bool(item["spec"]["userReference"]["name"] == user and item["spec"]["vhost"] == manifests.VHOST)


def database(rendered: Rendered) -> Iterator[str]:
    """Each service has a login that holds nothing but its role, and the database is backed up."""
    clusters = rendered.of_kind("Cluster")
    if len(clusters) != 1:
        yield "not one Cluster"
        return
    if clusters[0]["spec"].get("instances", 1) < 3 or clusters[0]["spec"].get("minSyncReplicas", 0) < 1:
        yield "what was answered is on one machine only"
    roles = {one["name"]: one for one in clusters[0]["spec"]["managed"]["roles"]}
    for service in config.SERVICES:
        login = roles.get(service, {})
        if not login.get("login") or login.get("inRoles") != [role_of(service)]:
            yield f"{service}: its login holds {login.get('inRoles')}, not {role_of(service)}"
        if roles.get(role_of(service), {}).get("login", True):
            yield f"{role_of(service)}: no role, or one that may sign in"
    owner = clusters[0]["spec"]["bootstrap"]["initdb"]["owner"]
    if set(roles.get(owner, {}).get("inRoles", [])) != {role_of(service) for service in config.SERVICES}:
        yield f"{owner}: cannot give the roles their rights"
    if any(one.get("superuser") or one.get("createrole") for one in roles.values()):
        yield "a role has more rights than any needs"
    seeing_all = {name: one.get("inRoles") for name, one in roles.items() if one.get("bypassrls")}
    if seeing_all != {"backup": ["pg_read_all_data"]} or not roles["backup"].get("login"):
        yield f"not only backups see all rows, and only read them: {seeing_all}"
    (name,) = (one["parameters"]["barmanObjectName"] for one in clusters[0]["spec"]["plugins"])
    if [one["metadata"]["name"] for one in rendered.of_kind("ObjectStore")] != [name]:
        yield "no object store for backups"
    for one in rendered.of_kind("ObjectStore"):
        if not one["spec"].get("instanceSidecarConfiguration", {}).get("resources", {}).get("limits", {}).get("memory"):
            yield "what archives has the memory of a container that does not say"
    if [one["spec"]["cluster"]["name"] for one in rendered.of_kind("ScheduledBackup")] != ["postgresql"]:
        yield "no backup a day"


def secrets(rendered: Rendered) -> Iterator[str]:
    """Each Secret that somebody needs comes from the vault, with the keys that are read, and none that nobody needs."""
    needed: dict[str, set[str]] = {name: set(keys) for name, keys in manifests.secrets().items()}
    for item in rendered.objects:
        if item["kind"] != "ExternalSecret":
            for name, key in _secrets_in(item):
                needed.setdefault(name, set()).update({key} - {""})
    needed = {name: keys for name, keys in needed.items() if not CERTIFICATES.fullmatch(name)}
    fetched: dict[str, set[str]] = {}
    for item in rendered.of_kind("ExternalSecret"):
        target = item["spec"]["target"]
        made = target.get("template", {}).get("data") or {one["secretKey"]: "" for one in item["spec"]["data"]}
        fetched[target["name"]] = set(made)
    for name in sorted(needed.keys() | fetched.keys()):
        if not needed.get(name, {"nobody"}) <= fetched.get(name, set()):
            yield f"Secret {name}: {needed.get(name)} are read, {fetched.get(name)} fetched"
    for item in rendered.of_kind("Secret"):
        yield f"Secret {item['metadata']['name']}: its content is in the manifests"


def _secrets_in(item: Any) -> Iterator[tuple[str, str]]:
    """Yield what an object says of Secrets, wherever it says it: name and key."""
    if isinstance(item, list):
        for one in item:
            yield from _secrets_in(one)
    elif isinstance(item, dict):
        for field, value in item.items():
            if field in ("importCredentialsSecret", "passwordSecret"):
                yield from ((value["name"], key) for key in ("username", "password"))
            elif field in ("accessKeyId", "secretAccessKey"):
                yield value["name"], value["key"]
            elif field == "secretTargetRef":
                yield from ((one["name"], one["key"]) for one in value)
            elif field == "secret" and "items" in value:
                yield from ((value["name"], one["key"]) for one in value["items"])
            elif field == "secretName":
                yield value, ""
            else:
                yield from _secrets_in(value)


# --- Routes, monitoring ---------------------------------------------------------------------------------


def routes(rendered: Rendered) -> Iterator[str]:
    """Each public route of each service leads in from outside, none for inside does, and bodies have bounds."""
    ingresses = {item["metadata"]["name"]: item for item in rendered.of_kind("Ingress")}
    for service in config.SERVICES:
        if service not in ingresses:
            yield f"{service}: no Ingress"
            continue
        (rule,) = ingresses[service]["spec"]["rules"]
        paths = rule["http"]["paths"]
        of_service = list(marked(build.service_class(service), Http).values())
        for route in of_service:
            address = re.sub(r"\{[^}]+\}", "x", route.path)
            leads, public = _leads(paths, address), route.right not in manifests.INSIDE
            if leads != public:
                yield f"{service}: {route.method} {route.path} {'leads' if leads else 'does not lead'} in from outside"
        for address in ("/metrics", "/healthz", "/readyz", "/docs", "/openapi.json"):
            if _leads(paths, address):
                yield f"{service}: {address} leads in from outside"
        bound = int(ingresses[service]["metadata"]["annotations"][f"{NGINX}/proxy-body-size"])
        if bound != max(route.body_limit or config.Settings().body_limit for route in of_service):
            yield f"{service}: bodies of up to {bound}"
        for limit in ("limit-connections", "limit-rps"):
            if int(ingresses[service]["metadata"]["annotations"].get(f"{NGINX}/{limit}", 0)) < 1:
                yield f"{service}: no {limit} of one address"
        if {one["backend"]["service"]["name"] for one in paths} != {service}:
            yield f"{service}: its Ingress leads elsewhere"
        if not ingresses[service]["spec"].get("tls"):
            yield f"{service}: no TLS"


def _leads(paths: Iterable[Object], address: str) -> bool:
    return any(
        address == one["path"] or (one["pathType"] == "Prefix" and address.startswith(one["path"] + "/"))
        for one in paths
    )


def monitoring(rendered: Rendered) -> Iterator[str]:
    """Prometheus finds every process, the broker, whose exporter tells the depth of queues, and the database.

    Each file of rules in deploy/monitoring is an object here, and each dashboard.
    """
    folder = ROOT / manifests.MONITORING
    files = [*folder.glob("rules/*.yaml"), *folder.glob("alerts/*.yaml")]
    rules = {f"xinhuo-{path.parent.name}-{path.stem}" for path in files}
    if missing := rules - {item["metadata"]["name"] for item in rendered.of_kind("PrometheusRule")}:
        yield f"no PrometheusRule: {sorted(missing)}"
    dashboards = {path.name for path in folder.glob("dashboards/*.json")}
    shown = {name for item in rendered.of_kind("ConfigMap") for name in item["data"]}
    if missing := dashboards - shown:
        yield f"not shown by Grafana: {sorted(missing)}"
    monitors = {item["metadata"]["name"]: item["spec"] for item in rendered.of_kind("ServiceMonitor")}
    for name in {"xinhuo", "rabbitmq"} - monitors.keys():
        yield f"no ServiceMonitor {name}"
    found = [item["spec"]["selector"]["matchLabels"] for item in rendered.of_kind("PodMonitor")]
    if [POSTGRESQL.labels] != found:
        yield f"PostgreSQL: Prometheus looks for pods {found}"
    if "xinhuo" not in monitors:
        return
    wanted = monitors["xinhuo"]["selector"]["matchLabels"]
    ports = {one["port"] for one in monitors["xinhuo"]["endpoints"]}
    for item in rendered.of_kind("Service"):
        there = {one["name"] for one in item["spec"]["ports"]}
        if not wanted.items() <= item["metadata"]["labels"].items() or not ports <= there:
            yield f"Service {item['metadata']['name']}: Prometheus does not find it"

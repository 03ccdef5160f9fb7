"""Each setting of a process has its place in deploy/, and what the manifests set is a setting.

Reads the settings from xinhuo.chassis.config, so that one that is added there cannot be forgotten here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from xinhuo.chassis import config

from . import pod_security, rendered
from .found import Found

#: Settings that the manifests leave at their defaults, or to the office, with the reason.
LEFT = {
    "XINHUO_KEY_COMMAND": "instead of the key file, where the office has a vault whose client is in its image",
    "XINHUO_PORT_BASE": "each process has a network of its own, and is told its port with --port",
    "XINHUO_RATE_OF_CALLERS": "the default is measured; an office that needs another sets it in its overlay",
    "XINHUO_RATE_OF_STRANGERS": "the default is measured; an office that needs another sets it in its overlay",
    "XINHUO_BODY_LIMIT": "the default fits every route",
    "XINHUO_REQUEST_SECONDS": "the default fits every route",
    "XINHUO_HTTP_WORKERS": "the default is measured: docs/scaling.md",
    "XINHUO_DB_POOL": "the default is measured: docs/scaling.md",
    "XINHUO_PREFETCH_MAX": "the default is measured: docs/scaling.md",
    "XINHUO_BATCH_MAX": "the default is measured: docs/scaling.md",
    "XINHUO_BATCH_WINDOW_MS": "the default is measured: docs/scaling.md",
    "XINHUO_CONFIRM_SECONDS": "the default is measured: docs/scaling.md",
    **{
        config.DATABASE_URL_OF.format(service.upper()): "each pod has one service, and so one DATABASE_URL"
        for service in config.SERVICES
    },
}


def check(root: Path) -> Found:
    """Compare what the pods of all builds are given with the settings that there are."""
    found = Found()
    items = list(rendered.items(root, found))
    settings = known()
    given: dict[str, str] = {}
    for item in items:
        for name in _given(item, items):
            given.setdefault(name, item.where)
    found.count("settings", len(settings))
    for name, where in sorted(given.items()):
        setting = setting_of(name, settings)
        if setting is None and _is_ours(name):
            found.problem(where, f"{name} is no setting of a process", "see docs/settings.md for its name")
        elif setting == name and name in config.secret_variables():
            do = f"set {name}{config.IN_FILE} and mount a Secret"
            found.problem(where, f"the secret {name} is in the environment", do)
    placed = {setting_of(name, settings) for name in given}
    found.count("settings_given", len(placed - {None}))
    for name in sorted(settings - placed - LEFT.keys()):
        do = "set it in deploy/base, or give the reason in tools/deploy_check/settings.py"
        found.problem("deploy/base", f"the setting {name} has no place in the manifests", do)
    for name in sorted(LEFT.keys() - (settings - placed)):
        do = "take it out of LEFT"
        found.problem(
            "tools/deploy_check/settings.py", f"{name} is set in the manifests, or is no setting any more", do
        )
    return found


def setting_of(variable: str, settings: set[str]) -> str | None:
    """Return the setting that a variable gives: itself, or the secret one whose file it names."""
    if variable in settings:
        return variable
    setting = variable.removesuffix(config.IN_FILE)
    return setting if setting != variable and setting in config.secret_variables() else None


def known() -> set[str]:
    """Return the variables that a process reads."""
    own = {item.metadata["variable"] for item in fields(config.Settings) if "variable" in item.metadata}
    forms = (config.DATABASE_URL_OF, config.URL_OF)
    return own | {form.format(service.upper()) for form in forms for service in config.SERVICES}


def _is_ours(name: str) -> bool:
    return name.startswith("XINHUO_") or name.endswith(("AMQP_URI", "DATABASE_URL"))


def _given(item: rendered.Item, items: list[rendered.Item]) -> Iterator[str]:
    """Yield the variables that an object gives to the containers of our image."""
    pod = pod_security.pod_of(item.body)
    if pod is None or item.body["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "xinhuo":
        return
    spec: Mapping[str, Any] = pod.get("spec") or {}
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        yield from (one["name"] for one in container.get("env") or [])
        for source in container.get("envFrom") or []:
            name = (source.get("configMapRef") or {}).get("name")
            for other in items:
                same = other.overlay == item.overlay and other.body["metadata"]["name"] == name
                if same and other.body.get("kind") == "ConfigMap":
                    yield from other.body.get("data") or {}

"""`xinhuo topology apply` makes the users, keeps their passwords, and finds who may do too much or too little."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import amqp
import pytest

from tests.integration.broker_users.conftest import HOURS, Installed
from tests.support.broker_users import connected, done, uris_of
from tests.support.installation import called
from xinhuo.chassis import config
from xinhuo.chassis.adapters import user_state
from xinhuo.chassis.adapters.management import Management
from xinhuo.chassis.config import SERVICES
from xinhuo.cli.build import full_topology
from xinhuo.cli.checkup import users


def applied(installed: Installed, *options: str) -> dict[str, Any]:
    return done("topology", "apply", "--json", *options, settings=installed.settings).figures


def data_of(installed: Installed) -> Path:
    return Path(installed.settings["XINHUO_DATA"])


def found(installed: Installed) -> dict[str, str]:
    """Return what the doctor finds, by code."""
    told: dict[str, str] = {}
    for one in users.check(config.load(installed.settings), full_topology()):
        told[one.code] = f"{told.get(one.code, '')}{one.where}: {one.detail}\n"
    return told


def user_of(installed: Installed, *who: str) -> str:
    return user_state.name_of(installed.deploy.rpartition("/")[2], *who)


def ctl(installed: Installed, command: str, user: str, *arguments: str) -> None:
    vhost = ("-p", installed.deploy.rpartition("/")[2]) if "permissions" in command else ()
    installed.node.ctl(command, *vhost, user, *arguments)


def test_every_service_has_its_address_in_a_file_for_its_owner_only(installed: Installed) -> None:
    folder = data_of(installed) / "broker-users"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name for file in folder.iterdir()} == {f"{service}.env" for service in SERVICES}
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    for service, uri in uris_of(data_of(installed)).items():
        assert uri.startswith(f"amqp://{user_of(installed, service)}:")
        with connected(uri) as connection:
            assert connection.connected


def test_applied_again_it_changes_nothing(installed: Installed) -> None:
    before = uris_of(data_of(installed)), Management(installed.node.api, installed.deploy).users()

    again = applied(installed)

    assert (again["made"], again["mended"], again["differs"], again["unknown"]) == ([], [], [], [])
    assert again["passwords"] == {"written": [], "not_here": []}
    assert (uris_of(data_of(installed)), Management(installed.node.api, installed.deploy).users()) == before
    assert found(installed) == {}


def test_no_password_is_printed_or_in_the_arguments_of_a_program(installed: Installed) -> None:
    ended = done("topology", "apply", "--rotate", "notify", settings=installed.settings)
    password = uris_of(data_of(installed))["notify"].removeprefix("amqp://").partition("@")[0].rpartition(":")[2]

    assert len(password) > 40
    assert password not in ended.stdout + ended.stderr
    assert "notify.env" in ended.stdout


def test_a_new_password_is_given_only_when_it_is_asked_for(installed: Installed) -> None:
    before = uris_of(data_of(installed))

    dry = called("topology", "apply", "--rotate", "awards", "--dry-run", "--json", settings=installed.settings)
    assert (dry.code, uris_of(data_of(installed))) == (1, before)
    assert [item["name"] for item in json.loads(dry.stdout)["differs"]] == [user_of(installed, "awards")]
    rotated = applied(installed, "--rotate", "awards")

    after = uris_of(data_of(installed))
    assert rotated["mended"] == [f"user {user_of(installed, 'awards')}"]
    assert {service for service in SERVICES if after[service] != before[service]} == {"awards"}
    with pytest.raises(amqp.AccessRefused), connected(before["awards"]):
        pass
    with connected(after["awards"]) as connection:
        assert connection.connected


def test_a_password_that_is_not_in_the_folder_is_kept_and_said_to_be_unknown(installed: Installed) -> None:
    file = data_of(installed) / "broker-users" / "portal.env"
    text = file.read_text()
    file.unlink()
    try:
        assert applied(installed)["passwords"] == {"written": [], "not_here": ["portal"]}
        assert "--rotate portal" in done("topology", "apply", settings=installed.settings).stdout
        assert not file.exists()
        with connected(text.strip().removeprefix("AMQP_URI=")) as connection:
            assert connection.connected
    finally:
        file.write_text(text)
        file.chmod(0o600)


def test_one_that_was_killed_between_file_and_broker_is_finished_by_the_next(installed: Installed) -> None:
    ctl(installed, "change_password", user_of(installed, "notices"), "another-one")
    assert "password" in found(installed)["broker.user_too_narrow"]
    ctl(installed, "delete_user", user_of(installed, "volunteers"))
    assert found(installed)["broker.user_missing"] == f"user {user_of(installed, 'volunteers')}: \n"

    mended = applied(installed)

    assert mended["mended"] == [f"user {user_of(installed, 'notices')}"]
    assert mended["made"] == [f"user {user_of(installed, 'volunteers')}"]
    for uri in uris_of(data_of(installed)).values():
        with connected(uri) as connection:
            assert connection.connected


@pytest.mark.parametrize(
    ("who", "command", "arguments", "code", "told"),
    [
        (("awards",), "set_permissions", (".*", ".*", ".*"), "broker.user_too_wide", "configure: .* → ^$"),
        (("awards",), "set_permissions", ("^$", "", "^$"), "broker.user_too_narrow", "write: — → ^(awards"),
        (("awards",), "set_permissions", ("^$", "^$", "^awards"), "broker.user_too_wide", "read: ^awards → "),
        (("awards",), "set_permissions", ("^$", "^$", "^$"), "broker.user_too_narrow", "read: ^$ → ^(awards"),
        (("awards",), "clear_permissions", (), "broker.user_too_narrow", "write: — → ^(awards"),
        (("awards",), "clear_topic_permissions", (), "broker.user_too_wide", "routing keys at pub.events: — → "),
        (
            ("awards",), "set_topic_permissions", ("pub.events", ".*", "^$"),
            "broker.user_too_wide", r"routing keys at pub.events: .* → ^awards\.",
        ),
        (
            ("awards",), "set_topic_permissions", ("pub.events", "^awards.x", "^$"),
            "broker.user_too_narrow", "routing keys at pub.events",
        ),
        (
            ("awards",), "set_topic_permissions", ("awards.events", "^x", "^$"),
            "broker.user_too_narrow", "routing keys at awards.events: ^x → —",
        ),
        (("awards",), "set_user_tags", ("administrator",), "broker.user_too_wide", "tags: administrator"),
        (("dept", "traffic"), "set_permissions", (".*", "", ""), "broker.user_too_wide", "configure"),
        (
            ("dept", "traffic"), "set_permissions", (r"^(dept\.traffic\.|evt-dept\.traffic-).*",) * 3,
            "broker.user_too_wide", "read",
        ),
        (
            ("dept", "traffic"), "set_permissions", ("^$", r"^(dept\.traffic\.).*", ".*"),
            "broker.user_too_narrow", "write",
        ),
        (
            ("dept", "traffic"), "clear_user_limits", ("max-connections",),
            "broker.user_too_wide", "max-connections: — → 10",
        ),
        (
            ("dept", "traffic"), "set_user_limits", ('{"max-channels":1}',),
            "broker.user_too_narrow", "max-channels: 1 → 50",
        ),
    ],
)  # fmt: skip
def test_a_user_who_may_do_too_much_or_too_little_is_found_and_mended(
    installed: Installed, who: tuple[str, ...], command: str, arguments: tuple[str, ...], code: str, told: str
) -> None:
    user = user_of(installed, *who)
    ctl(installed, command, user, *arguments)
    try:
        assert f"user {user}" in found(installed)[code]
        assert told in found(installed)[code]
        dry = called("topology", "apply", "--dry-run", settings=installed.settings)
        assert dry.code == 1
        assert f"differs: user {user}" in dry.stdout
    finally:
        ended = done("topology", "apply", settings=installed.settings)

    assert f"mended: user {user}" in ended.stdout
    assert found(installed) == {}


def test_what_one_of_our_users_may_do_elsewhere_is_taken_away(installed: Installed) -> None:
    user = user_of(installed, "awards")
    installed.node.ctl("set_permissions", "-p", "/", user, ".*", ".*", ".*")
    try:
        assert "virtual host /: .*, .*, .*" in found(installed)["broker.user_too_wide"]
    finally:
        applied(installed)

    assert installed.node.ctl("list_user_permissions", user).count(r"^(awards\.events|pub\.events)$") == 1
    assert found(installed) == {}


def test_a_user_who_is_none_of_ours_is_told_and_left(installed: Installed) -> None:
    name = f"stranger-{installed.deploy.rpartition('/')[2]}"
    installed.node.ctl("add_user", name, "x")
    ctl(installed, "set_permissions", name, "^$", "", "^$")
    try:
        assert name in found(installed)["broker.user_unknown"]
        assert [item["name"] for item in applied(installed)["unknown"]] == [name]
        assert f"none of ours: user {name}" in done("topology", "apply", settings=installed.settings).stdout
        assert name in installed.node.ctl("list_users")
    finally:
        installed.node.ctl("delete_user", name)


def test_queues_of_departments_without_bounds_are_found_and_bounded_again(installed: Installed) -> None:
    vhost = installed.deploy.rpartition("/")[2]
    installed.node.ctl("clear_operator_policy", "-p", vhost, "xinhuo-departments")
    assert "broker.departments_unbounded" in found(installed)
    definition = '{"max-length":1000000000}'
    installed.node.ctl("set_operator_policy", "-p", vhost, "xinhuo-departments", r"^dept\.", definition)
    assert "max-length: 1000000000 → 500000" in found(installed)["broker.departments_unbounded"]

    assert applied(installed)["mended"] == ["operator policy xinhuo-departments"]
    assert found(installed) == {}


def test_a_queue_of_dead_letters_keeps_what_was_delivered_in_vain_however_often(installed: Installed) -> None:
    vhost = installed.deploy.rpartition("/")[2]
    kept = installed.node.ctl("list_queues", "-p", vhost, "name", "policy")
    assert re.findall(r"^(\S+)\s+xinhuo-dead-letters$", kept, re.M) != []
    assert set(re.findall(r"^(\S+\.dead)\s", kept, re.M)) == set(
        re.findall(r"^(\S+)\s+xinhuo-dead-letters$", kept, re.M)
    )
    installed.node.ctl("set_policy", "-p", vhost, "xinhuo-dead-letters", r"\.dead$", '{"delivery-limit":20}')
    assert "delivery-limit: 20 → 1000000" in found(installed)["broker.dead_letters_dropped"]
    assert applied(installed)["mended"] == ["policy xinhuo-dead-letters"]
    assert found(installed) == {}
    assert '"delivery-limit":1000000' in installed.node.ctl("list_policies", "-p", vhost)


def test_a_department_gets_its_address_once_and_another_only_when_it_is_asked_for(installed: Installed) -> None:
    create = ("subs", "create", "health", "--events", HOURS)
    dry = done(*create, "--dry-run", "--json", settings=installed.settings).figures
    assert (dry["user"], dry["amqp_uri"]) == (user_of(installed, "dept", "health"), None)
    assert user_of(installed, "dept", "health") not in installed.node.ctl("list_users")

    printed = done(*create, settings=installed.settings).stdout
    uri = re.findall(r"AMQP_URI=(\S+)", printed)[0]
    with connected(uri) as connection:
        assert connection.connected
    again = done(*create, settings=installed.settings).stdout
    assert ("AMQP_URI" in again, "its password is as it was" in again) == (False, True)
    rotated = done(*create, "--rotate", "--json", settings=installed.settings).figures["amqp_uri"]
    with pytest.raises(amqp.AccessRefused), connected(uri):
        pass
    with connected(rotated) as connection:
        assert connection.connected
    assert found(installed) == {}


def test_without_the_management_api_one_address_for_all_works_as_before_and_it_is_said(installed: Installed) -> None:
    plain = {name: value for name, value in installed.settings.items() if name != "XINHUO_RABBITMQ_API"}

    assert "no users were made" in done("topology", "apply", settings=plain).stdout
    assert done("topology", "apply", "--json", settings=plain).figures["passwords"] is None
    made = done("subs", "create", "parks", "--events", HOURS, settings=plain)
    assert "no user was made" in made.stdout
    for command in (
        ("topology", "apply", "--rotate", "awards"),
        ("subs", "create", "parks", "--events", HOURS, "--rotate"),
    ):
        ended = called(*command, settings=plain)
        assert (ended.code, "XINHUO_RABBITMQ_API" in ended.stderr) == (2, True)
    assert [one.code for one in users.check(config.load(plain), full_topology())] == ["broker.users_unseen"]


def test_an_unknown_service_gets_no_new_password(installed: Installed) -> None:
    ended = called("topology", "apply", "--rotate", "award", settings=installed.settings)

    assert ended.code == 2
    assert "award" in ended.stderr


def test_a_management_api_that_is_away_or_refuses_is_told_without_its_password(installed: Installed) -> None:
    away = {**installed.settings, "XINHUO_RABBITMQ_API": "http://x:4fe7c0@127.0.0.1:9"}
    refused = {**installed.settings, "XINHUO_RABBITMQ_API": installed.node.api.replace("//", "//tests:4fe7c0@")}
    service = installed.services["awards"].removeprefix("amqp://").partition("@")[0]
    no_administrator = {**refused, "XINHUO_RABBITMQ_API": installed.node.api.replace("//", f"//{service}@")}
    no_api = {**refused, "XINHUO_RABBITMQ_API": f"{installed.node.api}/nowhere"}
    for settings, code, finding in (
        (away, 3, "broker.api_away"), (refused, 2, "broker.api_refused"), (no_administrator, 2, "broker.api_refused"),
        (no_api, 2, "broker.api_refused"),
    ):  # fmt: skip
        ended = called("topology", "apply", settings=settings)
        (one,) = users.check(config.load(settings), full_topology())
        assert (ended.code, one.code) == (code, finding)
        assert "4fe7c0" not in ended.stdout + ended.stderr + str(one)

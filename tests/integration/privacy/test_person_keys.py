"""Each person's data opens with that person's key at its own place only; those of before get keys of their own."""

import base64
import json
import os
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from psycopg.errors import CheckViolation
from sqlalchemy.exc import IntegrityError
from werkzeug.test import Client

from services.volunteers import sealed
from services.volunteers.commands import person_keys
from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, person
from tests.support.services import KEYS, fetch
from xinhuo.chassis import ciphers
from xinhuo.chassis.person_keys import PersonKey, WrappedKey, make_key, rewrap
from xinhuo.chassis.security import CannotDecrypt, Keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
COLUMNS = ("name", "id_number", "phone")


def run(service: Volunteers, statement: str, **values: object) -> None:
    with service.runtime.db.transaction() as session:
        session.execute(sa.text(statement), values)


def as_before(service: Volunteers, volunteer: UUID) -> None:
    """Encrypt somebody's data as it was done before there were keys of persons."""
    [row] = fetch(service, "SELECT * FROM volunteers LEFT JOIN person_keys ON volunteer_id = id WHERE id = :id",
                  id=volunteer)  # fmt: skip
    clear = sealed.open_columns(KEYS, row, *COLUMNS)
    values = {name: KEYS.encrypt(str(clear[name]), sealed.PLACES[name]) for name in COLUMNS}
    run(service, "UPDATE volunteers SET name = :name, id_number = :id_number, phone = :phone WHERE id = :id",
        id=volunteer, **values)  # fmt: skip
    run(service, "DELETE FROM person_keys WHERE volunteer_id = :id", id=volunteer)


def shown(client: Client, world: World) -> list[tuple[str, ...]]:
    answer = client.get(f"/v1/volunteers?unit={world.unit_code}")
    assert answer.status_code == 200, answer.text
    return [tuple(one[name] for name in ("id", *COLUMNS)) for one in (answer.json or {})["items"]]


def test_a_new_person_has_a_key_and_everything_personal_is_sealed_with_it(service: Volunteers, world: World) -> None:
    [one] = world.add_volunteers(1)
    [row] = fetch(service, "SELECT * FROM volunteers JOIN person_keys ON volunteer_id = id WHERE id = :id", id=one)
    assert {row[name][:3] for name in COLUMNS} == {"p1."}
    assert row["wrapped"].startswith("w1.")
    assert row["kek"] == KEYS.current
    assert sealed.open_columns(KEYS, row, "name") == {"name": "测试员甲"}


def test_values_of_two_persons_that_are_exchanged_do_not_open(service: Volunteers, world: World) -> None:
    one, other = world.add_volunteers(2)
    rows = {
        row["id"]: row
        for row in fetch(service, "SELECT * FROM volunteers JOIN person_keys ON volunteer_id = id"
                                  " WHERE id = ANY(:ids)", ids=[one, other])
    }  # fmt: skip
    with pytest.raises(CannotDecrypt):
        sealed.open_columns(KEYS, {**rows[one], "name": rows[other]["name"]}, "name")
    with pytest.raises(CannotDecrypt):
        sealed.open_columns(KEYS, {**rows[one], "name": rows[one]["phone"]}, "name")
    foreign = {"wrapped": rows[other]["wrapped"], "name": rows[other]["name"]}
    with pytest.raises(CannotDecrypt):
        sealed.open_columns(KEYS, {**rows[one], **foreign}, "name")


def test_the_tables_refuse_what_is_not_encrypted(service: Volunteers, world: World) -> None:
    [one] = world.add_volunteers(1)
    for column in COLUMNS:
        with pytest.raises(IntegrityError) as refused:
            run(service, f"UPDATE volunteers SET {column} = 'open' WHERE id = :id", id=one)  # noqa: S608
        assert isinstance(refused.value.orig, CheckViolation)
    with pytest.raises(IntegrityError):
        run(service, "UPDATE person_keys SET wrapped = 'open' WHERE volunteer_id = :id", id=one)


def test_a_mixed_table_is_read_and_those_of_before_get_their_keys_in_turns(
    service: Volunteers, client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person_keys, "AT_ONCE", 2)
    people = world.add_volunteers(6)
    before = shown(client, world)
    for one in people[:5]:
        as_before(service, one)
    assert shown(client, world) == before
    turns = []
    while True:
        with service.runtime.db.transaction() as session:
            if not person_keys.any_without(session):
                break
            turns.append(person_keys.give_keys(session, KEYS))
    assert turns == [2, 2, 1]
    assert shown(client, world) == before
    left = fetch(
        service,
        "SELECT count(*) AS n FROM volunteers LEFT JOIN person_keys ON volunteer_id = id"
        " WHERE wrapped IS NULL OR name LIKE 'a%' OR phone LIKE 'a%' OR id_number LIKE 'a%'",
    )
    assert left == [{"n": 0}]


def test_a_person_of_before_is_found_again_by_the_same_number(
    service: Volunteers, client: Client, world: World
) -> None:
    body = person(world.unit_code, id_number=id_number())
    made = client.post("/v1/volunteers", json=body).json or {}
    as_before(service, UUID(made["id"]))
    again = client.post("/v1/volunteers", json=body)
    assert (again.status_code, (again.json or {})["other"]) == (409, made["id"])
    with service.runtime.db.transaction() as session:
        service.give_people_their_keys(session)
    again = client.post("/v1/volunteers", json=body)
    assert (again.status_code, (again.json or {})["other"]) == (409, made["id"])


def test_one_who_cannot_be_read_does_not_hold_up_the_others(service: Volunteers, world: World) -> None:
    broken, sound = world.add_volunteers(2)
    as_before(service, broken)
    as_before(service, sound)
    run(service, "UPDATE volunteers SET phone = name WHERE id = :id", id=broken)
    with service.runtime.db.transaction() as session:
        assert person_keys.give_keys(session, KEYS) == 1
        assert person_keys.any_without(session)
    run(service, "DELETE FROM volunteers WHERE id = :id", id=broken)


def test_a_service_knows_whether_its_master_keys_fit_those_who_are_registered(
    service: Volunteers, world: World
) -> None:
    world.add_volunteers(1)
    with service.runtime.db.transaction() as session:
        fits = {}
        for name, keys in {
            "ours": KEYS, "rotated": Keys(NEW, OLD), "foreign": Keys(NEW), "order lost": Keys(OLD, NEW)
        }.items():  # fmt: skip
            service.runtime.keys = keys
            fits[name] = service.key_fits(session)
        service.runtime.keys = KEYS
    assert fits == {"ours": True, "rotated": True, "foreign": False, "order lost": False}


def test_a_newer_master_key_wraps_and_what_the_older_wrapped_still_opens() -> None:
    one = uuid4()
    key, stored = make_key(Keys(OLD), one)
    sealed_name = key.encrypt("测试员甲", "volunteers.name")
    both = Keys(NEW, OLD)
    again = rewrap(both, one, stored)
    assert (stored.master, again.master) == (Keys(OLD).current, both.current)
    assert stored.master != again.master
    for keys, kept in ((both, stored), (both, again), (Keys(OLD), stored)):
        assert PersonKey(keys, one, kept).decrypt(sealed_name, "volunteers.name") == "测试员甲"
    with pytest.raises(CannotDecrypt, match="not in the key file"):
        PersonKey(Keys(OLD), one, again).decrypt(sealed_name, "volunteers.name")
    assert Keys(OLD).blind_index("a", "b") == both.blind_index("a", "b")
    assert both.decrypt(Keys(OLD).encrypt("a", "p"), "p") == "a"


def test_a_running_process_looks_into_the_key_file_when_it_meets_an_unknown_master_key() -> None:
    one, looks = uuid4(), []

    def again() -> list[bytes]:
        looks.append(1)
        return [NEW, OLD]

    running = Keys(OLD, again=again)
    _, stored = make_key(Keys(NEW, OLD), one)
    sealed_name = PersonKey(Keys(NEW, OLD), one, stored).encrypt("甲乙", "volunteers.name")
    assert PersonKey(running, one, stored).decrypt(sealed_name, "volunteers.name") == "甲乙"
    assert running.current == Keys(NEW).current
    with pytest.raises(CannotDecrypt):
        PersonKey(running, one, WrappedKey(stored.wrapped, "0" * 16)).decrypt(sealed_name, "volunteers.name")
    assert looks == [1], "not with every request"


def test_another_algorithm_fits_in_under_a_prefix_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reversed:
        def encrypt(self, key: bytes, data: bytes, bound: bytes) -> bytes:
            return key[:4] + bound + b"\0\0" + data[::-1]

        def decrypt(self, key: bytes, data: bytes, bound: bytes) -> bytes:
            head, _, rest = data.partition(b"\0\0")
            if head != key[:4] + bound:
                raise CannotDecrypt("wrong")
            return rest[::-1]

    one = uuid4()
    key, _ = make_key(KEYS, one)
    before = key.encrypt("甲", "p")
    monkeypatch.setitem(ciphers.CIPHERS, "p9", Reversed())
    monkeypatch.setitem(ciphers.PREFERRED, "p", "p9")
    after = key.encrypt("乙", "p")
    assert (before[:3], after[:3]) == ("p1.", "p9.")
    assert (key.decrypt(before, "p"), key.decrypt(after, "p")) == ("甲", "乙")
    with pytest.raises(CannotDecrypt):
        KEYS.decrypt(after, "p")


def write(path: Path, *masters: bytes) -> Path:
    path.write_text("".join(base64.b64encode(master).decode() + "\n" for master in masters))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("command", [False, True], ids=["file", "command"])
def test_all_keys_are_wrapped_anew_by_one_command_which_goes_on_where_it_was_killed(
    service: Volunteers, client: Client, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: bool
) -> None:
    from typer.testing import CliRunner

    from xinhuo.cli.main import app

    monkeypatch.setattr(person_keys, "AT_ONCE", 2)
    world.add_volunteers(5)
    before = shown(client, world)
    fresh = os.urandom(32)
    path = write(tmp_path / "keys", fresh, OLD)
    monkeypatch.setenv("DATABASE_URL", service.runtime.settings.database_url or "")
    if command:
        program = f"print(open({str(path)!r}).read())"
        monkeypatch.setenv("XINHUO_KEY_COMMAND", f'{sys.executable} -c "{program}"')
    else:
        monkeypatch.setenv("XINHUO_KEY_FILE", str(path))

    def called(*words: str) -> dict[str, int]:
        ended = CliRunner().invoke(app, ["key", "rewrap", "--json", *words])
        assert ended.exit_code == 0, ended.output
        found: dict[str, int] = json.loads(ended.stdout)
        return found

    many = called("--dry-run")["wrapped_otherwise"]
    assert many >= 5
    with service.runtime.db.transaction() as session:
        assert person_keys.rewrap_some(session, Keys(fresh, OLD)) == 2  # and then it was killed
    assert called() == {"wrapped_otherwise": many - 2, "rewrapped": many - 2, "dry_run": False}
    assert called()["rewrapped"] == 0
    service.runtime.keys = Keys(fresh, OLD)
    assert shown(client, world) == before
    service.runtime.keys = KEYS
    with service.runtime.db.transaction() as session:  # as the other tests know it
        back = Keys(OLD, fresh)
        for row in session.execute(sa.text("SELECT volunteer_id, wrapped, kek FROM person_keys")).all():
            stored = rewrap(back, row.volunteer_id, WrappedKey(row.wrapped, row.kek))
            session.execute(sa.text("UPDATE person_keys SET wrapped = :w, kek = :k WHERE volunteer_id = :id"),
                            {"w": stored.wrapped, "k": stored.master, "id": row.volunteer_id})  # fmt: skip


def test_a_key_that_the_file_cannot_unwrap_ends_the_command_with_a_reason(
    service: Volunteers, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from xinhuo.cli.main import app

    world.add_volunteers(1)
    monkeypatch.setenv("DATABASE_URL", service.runtime.settings.database_url or "")
    monkeypatch.setenv("XINHUO_KEY_FILE", str(write(tmp_path / "keys", NEW)))
    ended = CliRunner().invoke(app, ["key", "rewrap"])
    assert ended.exit_code == 1
    assert "old lines" in ended.stderr

"""What we install is known by hash and licence, and is asked after; that could not be asked is never taken for good."""

import json
import re
import subprocess
import sys
from datetime import date
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.stub import Stub, stubbed
from tools import audit_deps, locks, sbom

#: Whatever else says LGPL needs a decision first: docs/decisions/0005-libraries.md.
LGPL = {"psycopg", "psycopg-binary", "python-stdnum"}
ALLOWED = re.compile(
    r"(MIT|MIT-0|BSD|BSD License|BSD-[23]-Clause|Apache-2\.0|ISC|PSF-2\.0|MPL-2\.0|Unlicense|0BSD)"
    r"( (AND|OR) (MIT|BSD-[23]-Clause|Apache-2\.0|PSF-2\.0))*"
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.document())
    return found


@pytest.fixture
def stub() -> Any:
    with stubbed() as server:
        yield server


def licence_of(component: dict[str, Any]) -> str:
    [said] = component["licenses"]
    found: str = said.get("expression") or said["license"].get("id") or said["license"]["name"]
    return found


# --- The bill of materials ------------------------------------------------------------------------------------


def test_the_bill_of_materials_is_true_to_its_schema(document: dict[str, Any]) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(document)) is None
    assert validator.validate_str(json.dumps({**document, "components": [{"name": "x"}]})) is not None


def test_it_lists_the_runtime_lock_with_every_hash(document: dict[str, Any]) -> None:
    found = {
        (one["name"], one["version"], tuple(sorted(each["content"] for each in one["hashes"])))
        for one in document["components"]
    }
    assert found == {(one.name, one.version, one.hashes) for one in locks.read("runtime")}
    assert len(found) > 50


def test_it_is_the_same_each_time(document: dict[str, Any]) -> None:
    printed = subprocess.run([sys.executable, "-m", "tools.sbom"], cwd=locks.ROOT, capture_output=True, text=True)
    assert printed.stdout == sbom.document()
    assert printed.returncode == 0


def test_every_licence_allows_what_we_do_and_lgpl_stands_only_where_it_was_decided(document: dict[str, Any]) -> None:
    licences = {one["name"]: licence_of(one) for one in document["components"]}
    assert {name for name, said in licences.items() if said.startswith("LGPL")} == LGPL
    assert {name: said for name, said in licences.items() if name not in LGPL and not ALLOWED.fullmatch(said)} == {}


@pytest.mark.parametrize(
    "said", ["AGPL-3.0-only", "GPL-3.0-or-later", "MIT AND AGPL-3.0-only", "LGPL-3.0-only", "", "Proprietary"]
)
def test_other_licences_are_not_allowed(said: str) -> None:
    assert not ALLOWED.fullmatch(said)


def test_a_package_that_is_not_as_it_is_locked_has_no_licence() -> None:
    for name, version in (("werkzeug", "0.0.1"), ("no-such-package", "1.0")):
        with pytest.raises(sbom.Unknown):
            sbom.licence_of(locks.Pinned(name, version, ()))


def test_one_lock_holds_what_is_in_all_others() -> None:
    every = {(one.name, one.version) for one in locks.read(audit_deps.LOCK)}
    for lock in ("runtime", "otel", "dev", "threads", "threads-dev"):
        assert {(one.name, one.version) for one in locks.read(lock)} <= every, lock


# --- Known vulnerabilities ------------------------------------------------------------------------------------


def run(stub: Stub, answers: list[Any]) -> subprocess.CompletedProcess[str]:
    stub.planned += answers
    command = [sys.executable, "-m", "tools.audit_deps", "--osv-url", f"{stub.url}/v1/query"]
    return subprocess.run(command, cwd=locks.ROOT, capture_output=True, text=True, timeout=120)


def vulnerability(name: str) -> dict[str, Any]:
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": []}]
    return {"vulns": [{"id": "PYSEC-2026-1", "summary": "invented", "affected": affected}]}


def test_a_clean_answer_about_every_package_is_fine(stub: Stub) -> None:
    done = run(stub, [(200, {}, {})] * 400)
    assert done.returncode == audit_deps.FINE, done.stderr
    asked = {json.loads(body)["package"]["name"] for body in stub.bodies}
    assert {one.name for one in locks.read("runtime")} <= asked


def test_a_vulnerability_is_found_and_named(stub: Stub) -> None:
    first = locks.read(audit_deps.LOCK)[0].name
    done = run(stub, [(200, {}, vulnerability(first))] + [(200, {}, {})] * 400)
    assert done.returncode == audit_deps.FOUND, done.stderr
    assert "PYSEC-2026-1" in done.stderr


@pytest.mark.parametrize("answers", [[None] * 50, [(500, {}, {})] * 50], ids=["no answer", "an error"])
def test_a_service_that_gives_no_answer_is_told_apart_from_a_clean_one(stub: Stub, answers: list[Any]) -> None:
    done = run(stub, answers)
    assert done.returncode == audit_deps.COULD_NOT_ASK
    assert "could not ask" in done.stderr


def test_packages_that_were_passed_over_were_not_asked_about() -> None:
    """pip-audit itself ends with 0 then, and says that there are no known vulnerabilities."""
    code, said = audit_deps.judge({"dependencies": [{"name": "kombu", "skip_reason": "not found"}]}, [])
    assert (code, audit_deps.judge({"dependencies": []}, [])[0]) == (audit_deps.COULD_NOT_ASK,) * 2
    assert "kombu" in said[0]


def test_what_is_accepted_is_not_found_until_its_day() -> None:
    known = audit_deps.Accepted("kombu", "CVE-2026-1", "tested", date(2026, 1, 31))
    bad = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["9"]}
    answer = {"dependencies": [{"name": "kombu", "version": "5", "vulns": [bad]}]}
    assert audit_deps.judge(answer, [])[0] == audit_deps.FOUND
    assert audit_deps.judge(answer, [known])[0] == audit_deps.FINE
    assert audit_deps.outdated([known], date(2026, 1, 31)) == []
    assert len(audit_deps.outdated([known], date(2026, 2, 1))) == 1
    assert len(audit_deps.outdated([audit_deps.Accepted("gone", "x", "y", date(2099, 1, 1))], date(2026, 1, 1))) == 1


def test_eventlet_is_accepted_until_a_day() -> None:
    [eventlet] = [one for one in audit_deps.accepted() if one.package == "eventlet"]
    assert eventlet.reason
    assert eventlet.until <= date(2027, 4, 30)
    assert audit_deps.outdated(audit_deps.accepted(), date(2026, 11, 1)) == []

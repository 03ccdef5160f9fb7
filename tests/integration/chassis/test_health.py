"""/healthz, /readyz and /metrics tell what is true of a process, and name what is wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client

from services.notices.service import Notices
from tests.support.identity import bearing, verifier
from tests.support.services import make_service
from xinhuo.chassis import migrations
from xinhuo.chassis.db import Database
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.service import Service
from xinhuo.cli import build

HEAD = migrations.head(build.versions_of("notices"))


@pytest.fixture
def service(database: str) -> Iterator[Service]:
    made = make_service(Notices, database)
    yield made
    made.runtime.db.close()


def ready(client: Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/readyz")
    assert answer.headers["Content-Type"] == "application/json"
    assert isinstance(answer.json, dict)
    return answer.status_code, answer.json


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_process_with_its_database_at_the_right_revision_is_ready(service: Service, role: str) -> None:
    app = build.make_app(service) if role == "api" else build.make_health_app(service, {})
    assert ready(Client(app)) == (200, {"ready": True, "checks": {"database": "ok", "migration": "ok"}})


def test_a_process_whose_database_is_away_lives_and_says_that_it_is_not_ready(service: Service) -> None:
    service.runtime.db.close()
    service.runtime.db = Database("postgresql+psycopg://nobody:x@127.0.0.1:1/none", "notices")
    client = Client(build.make_app(service))
    status, found = ready(client)
    assert (status, found["ready"]) == (503, False)
    assert "数据库连接不上" in found["checks"]["database"]
    assert "cannot be reached" in found["checks"]["database"]
    assert found["checks"]["migration"] != "ok"
    assert "nobody" not in str(found)
    assert client.get("/healthz").status_code == 200
    assert client.get("/metrics").status_code == 200


@contextmanager
def tables_at(service: Service, revision: str | None, works_from: str | None) -> Iterator[None]:
    """Let the tables be of another release for a while."""

    def put(rows: Sequence[Any]) -> None:
        with service.runtime.db.as_owner() as connection:
            connection.execute(sa.text("DELETE FROM alembic_version"))
            for row in rows:
                connection.execute(
                    sa.text("INSERT INTO alembic_version (version_num, works_from) VALUES (:revision, :oldest)"),
                    {"revision": row[0], "oldest": row[1]},
                )

    with service.runtime.db.as_owner() as connection:
        right = connection.execute(sa.text("SELECT version_num, works_from FROM alembic_version")).all()
    put([(revision, works_from)] if revision else [])
    try:
        yield
    finally:
        put(right)


@pytest.mark.parametrize("revision", ["0000", None])
def test_a_process_at_the_wrong_revision_says_which_and_what_to_do(service: Service, revision: str | None) -> None:
    client = Client(build.make_app(service))
    with tables_at(service, revision, None):
        status, found = ready(client)
    assert status == 503
    assert found["checks"]["database"] == "ok"
    assert found["checks"]["migration"].startswith("migration_pending")
    assert str(revision) in found["checks"]["migration"]
    assert HEAD in found["checks"]["migration"]
    assert "xinhuo db upgrade" in found["checks"]["migration"]
    assert ready(client)[0] == 200, "and becomes ready when that was done"


@pytest.mark.parametrize(
    ("works_from", "status"),
    [("0001", 200), (HEAD, 200), ("9999", 503), (None, 503)],
)
def test_a_process_on_tables_of_a_later_release_is_ready_when_they_let_it(
    service: Service, works_from: str | None, status: int
) -> None:
    client = Client(build.make_app(service))
    with tables_at(service, "9999", works_from):
        answered, found = ready(client)
    assert answered == status
    assert (found["checks"]["migration"] == "ok") == (status == 200)
    assert status == 200 or "later release" in found["checks"]["migration"]
    assert status == 200 or "xinhuo db upgrade" not in found["checks"]["migration"]


def test_another_condition_of_readiness_is_shown_by_name(service: Service) -> None:
    wrong: list[str | None] = ["queue missing"]
    client = Client(build.make_app(service, checks={"consumers": lambda: wrong[0]}))
    assert ready(client) == (
        503, {"ready": False, "checks": {"database": "ok", "migration": "ok", "consumers": "queue missing"}},
    )  # fmt: skip
    wrong[0] = None
    assert ready(client)[0] == 200


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_metrics_are_of_the_type_that_was_asked_for_with_one_charset(
    service: Service, accept: str, content_type: str
) -> None:
    answer = Client(build.make_app(service)).get("/metrics", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200
    found = answer.headers["Content-Type"]
    assert found.split(";")[0] == content_type.split(";")[0]
    assert found.count("charset") == 1
    assert "version=" in found


def test_metrics_count_requests_by_pattern_and_not_by_address(service: Service) -> None:
    service.runtime.verifier = verifier()
    client = Client(build.make_app(service))
    client.get("/v1/units/NO-SUCH-UNIT", headers=bearing(Actor(UUID(int=1), "clerk")))
    client.get("/nothing/at/all")
    client.open("/v1/units", method="BREW")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    labels = [sample.labels for sample in families["xinhuo_http_requests"].samples]
    assert {"service": "notices", "route": "/v1/units/{code}", "method": "GET", "status": "404"} in labels
    assert {"service": "notices", "route": "unmatched", "method": "OTHER", "status": "405"} in labels
    assert "NO-SUCH-UNIT" not in client.get("/metrics").text
    assert "/nothing" not in client.get("/metrics").text

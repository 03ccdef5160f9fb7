"""The OpenAPI document of each service is whole: every route, every reference, every error code."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from tests.support.services import make_service
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.errors import all_codes
from xinhuo.chassis.web import guard, openapi
from xinhuo.chassis.web.app import routes_of
from xinhuo.cli import build

METHODS = {"get", "post", "put", "patch", "delete"}
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
STATUS = re.compile(r"[1-5]\d\d")


@pytest.fixture(params=SERVICES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of each service in turn."""
    return str(request.param)


@pytest.fixture
def document(name: str) -> dict[str, Any]:
    return openapi.document(build.service_class(name))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def everything(value: Any, at: str = "#") -> Iterator[tuple[str, Any]]:
    """Yield every value of a document with its place."""
    yield at, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from everything(item, f"{at}/{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from everything(item, f"{at}/{number}")


def resolve(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = document
    for part in reference[2:].split("/"):
        found = found[part]
    return found


def test_it_is_of_version_3_1_and_says_what_it_is_of(document: dict[str, Any], name: str) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document) <= {"openapi", "info", "paths", "components", "servers", "tags", "webhooks", "security"}
    assert document["info"]["title"] == f"Xinhuo {name}"
    assert document["info"]["version"]
    assert document["info"]["description"]


def test_every_route_is_in_it_and_nothing_else(document: dict[str, Any], name: str) -> None:
    routes = routes_of(build.service_class(name))
    assert {(method, path) for method, path, _ in operations(document)} == {
        (route.mark.method.lower(), route.mark.path.replace(":uuid}", "}")) for route in routes
    }
    assert routes


def test_operations_have_unique_ids_a_summary_and_answers(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(document):
        assert method in METHODS
        assert path.startswith("/v1/")
        assert operation["summary"].strip()
        assert set(operation) <= {"operationId", "summary", "parameters", "requestBody", "responses", "security"}
        assert {"429", "500", "503"} <= set(operation["responses"])
        assert any(status.startswith(("2", "3")) for status in operation["responses"])
        for status, answer in operation["responses"].items():
            assert STATUS.fullmatch(status), (method, path, status)
            assert answer["description"].strip()
            for content_type, content in answer.get("content", {}).items():
                assert re.fullmatch(r"[a-z]+/[a-z.+-]+", content_type)
                assert isinstance(content["schema"], dict)


def test_parameters_are_declared_once_and_those_in_the_path_are_the_paths_own(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        found = [(parameter["in"], parameter["name"]) for parameter in operation["parameters"]]
        assert len(found) == len(set(found)), (method, path)
        assert {place for place, _ in found} <= {"path", "query", "header"}
        in_path = {name for place, name in found if place == "path"}
        assert in_path == set(re.findall(r"\{([^}]+)\}", path)), (method, path)
        for parameter in operation["parameters"]:
            assert isinstance(parameter["schema"], dict)
            assert parameter["in"] != "path" or parameter["required"] is True


def test_bodies_are_declared_where_a_route_takes_one(document: dict[str, Any], name: str) -> None:
    takes = {
        route.name: bool(route.accepts is not None or route.mark.media_type)
        for route in routes_of(build.service_class(name))
    }
    for _, _, operation in operations(document):
        assert ("requestBody" in operation) is takes[operation["operationId"]]
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [(at, value) for at, value in everything(document) if at.endswith("/$ref")]
    assert references
    for at, reference in references:
        assert isinstance(resolve(document, reference), dict), at


def test_schemas_speak_json_schema_and_not_the_words_of_3_0(document: dict[str, Any]) -> None:
    for at, value in everything(document["components"]["schemas"], "#/components/schemas"):
        if not isinstance(value, dict) or at.endswith("/properties"):
            continue
        assert "nullable" not in value, at
        assert not isinstance(value.get("exclusiveMinimum"), bool), at
        if "type" in value and not isinstance(value["type"], dict):
            types = value["type"] if isinstance(value["type"], list) else [value["type"]]
            assert set(types) <= TYPES, at
        if value.get("type") == "array":
            assert "items" in value, at
        for required in value.get("required", []) if isinstance(value.get("required"), list) else []:
            assert required in value["properties"], at


def test_documented_errors_exist(document: dict[str, Any]) -> None:
    codes = all_codes()
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            for code in answer.get("x-codes", []):
                assert str(codes[code].status) == status, code


def test_every_error_that_a_route_names_is_documented_at_it_and_who_may_ask(
    document: dict[str, Any], name: str
) -> None:
    routes = {route.name: route.mark for route in routes_of(build.service_class(name))}
    for _, _, operation in operations(document):
        mark = routes[operation["operationId"]]
        documented = {code for answer in operation["responses"].values() for code in answer.get("x-codes", [])}
        assert {error.code for error in mark.errors} <= documented
        public = (name, mark.method, mark.path) in guard.PUBLIC_ROUTES
        assert operation["security"] == ([] if public else [{"bearer": []}])
        assert ("token.missing" in documented) is not public


def test_bounds_stand_in_what_comes_in_and_not_in_what_goes_out() -> None:
    made = openapi.document(build.service_class("volunteers"))
    schemas = made["components"]["schemas"]
    assert schemas["CreateActivity"]["properties"]["title"] == {"type": "string", "minLength": 1, "maxLength": 200}
    assert schemas["Approve"]["properties"]["days"]["minimum"] == 1
    assert schemas["Activity"]["properties"]["title"] == {"type": "string"}
    [limit] = [one for one in made["paths"]["/v1/hours"]["get"]["parameters"] if one["name"] == "limit"]
    assert limit["schema"] == {"type": "integer", "default": 50, "minimum": 1, "maximum": 200}
    [team] = [one for one in made["paths"]["/v1/hours"]["get"]["parameters"] if one["name"] == "team"]
    assert team["schema"]["type"] == "string"  # there is no null in a query


def test_answers_that_are_files_or_nothing_are_documented_as_that() -> None:
    volunteers, portal = (openapi.document(build.service_class(name))["paths"] for name in ("volunteers", "portal"))
    workbook = volunteers["/v1/statistics.xlsx"]["get"]["responses"]["200"]["content"]
    assert [kind for kind in workbook if "spreadsheet" in kind]
    assert "content" not in portal["/v1/sessions:end"]["post"]["responses"]["204"]
    assert {"200", "201"} <= set(volunteers["/v1/hours"]["post"]["responses"])
    assert "items" in str(portal["/v1/me/sessions"]["get"]["responses"]["200"])


def test_a_service_serves_its_document(name: str, document: dict[str, Any]) -> None:
    service = make_service(build.service_class(name), "postgresql://nobody:x@127.0.0.1:1/none")
    answer = Client(build.make_app(service)).get("/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == document
    service.runtime.db.close()

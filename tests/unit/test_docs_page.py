"""The page /docs shows what the bundled Swagger UI can show."""

import re
from pathlib import Path

from swagger_ui_bundle import swagger_ui_path
from werkzeug.test import Client

from services.notify.service import Notify
from xinhuo.chassis.web import openapi
from xinhuo.chassis.web.app import HttpApp


def client() -> Client:
    app = HttpApp(Notify())
    openapi.mount(app)
    return Client(app)


def test_the_page_gives_the_bundle_a_version_that_it_shows_and_programs_the_true_one() -> None:
    bundle = (Path(swagger_ui_path) / "swagger-ui-bundle.js").read_text(encoding="utf-8")
    shown = set(re.findall(r"openapi: (3\.\d)\.[nx]", bundle))
    given = re.search(r"openapi: '(3\.\d)\.\d'", client().get("/docs/start.js").text)

    assert given is not None
    assert given[1] in shown
    assert client().get("/openapi.json").json["openapi"] == "3.1.0"  # type: ignore[index]


def test_the_page_loads_nothing_from_outside() -> None:
    page = client().get("/docs")

    assert "//" not in page.text.replace("<!doctype html>", "")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]

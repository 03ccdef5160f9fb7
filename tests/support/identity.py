"""Who asks, for tests: keys and tokens of actors, and a door that lets everybody in where rights are not the matter."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from xinhuo.chassis.identity.actor import Access, Actor, Reach
from xinhuo.chassis.identity.keyring import PATH
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.identity.tokens import Verifier, new_key, read_key, sign
from xinhuo.chassis.markers import Http, marked
from xinhuo.chassis.service import Runtime, Service
from xinhuo.chassis.web import guard

S = TypeVar("S", bound=type[Service])

KEY = new_key()
_PUBLIC = {KEY.kid: read_key(KEY.public())}
#: What is public of the office's own services, before those of the tests are.
SHIPPED = guard.PUBLIC_ROUTES
SOMEBODY = Actor(UUID(int=0xA11), "clerk")


def verifier() -> Verifier:
    """Return what checks the tokens of these tests."""
    return Verifier(lambda _kid: _PUBLIC)


def token_of(actor: Actor, *, seconds: int = 600) -> str:
    """Return a token of the actor."""
    return sign(actor, KEY, now=int(time.time()), seconds=seconds)


def bearing(actor: Actor, *, seconds: int = 600) -> dict[str, str]:
    """Return the header with which the actor asks."""
    return {"Authorization": f"Bearer {token_of(actor, seconds=seconds)}"}


class FixedBearer:
    """Shows a token of one actor."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def token(self) -> str:
        """Return a token."""
        return token_of(self.actor)

    def renew(self) -> None:
        """Have nothing newer."""


@contextmanager
def keys_served() -> Iterator[str]:
    """Serve the key set of these tests as the portal does; gives the address, for XINHUO_PORTAL_URL."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [KEY.public()]}).encode()
            self.send_response(200 if self.path == PATH else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def let_in(_runtime: Runtime, mark: Http, _environ: dict[str, Any]) -> Access:
    """Let everybody do everything to everything (``HttpApp(enter=...)``): for tests of the rules of the field."""
    return Access(SOMEBODY, mark.right or "", Reach.ALL)


def for_everybody(service_class: S) -> S:
    """Let a small service of the tests, whose routes say that they are public, answer without tokens."""
    marks = [mark for mark in marked(service_class, Http).values() if mark.right == PUBLIC_RIGHT]
    guard.PUBLIC_ROUTES |= {(service_class.name, mark.method, mark.path) for mark in marks}
    return service_class

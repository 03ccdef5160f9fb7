"""A directory (OpenID Connect provider) on 127.0.0.1, which can be told to misbehave."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "xinhuo-portal", "a secret of the directory"
REDIRECT_URL = "https://portal.example/v1/oidc/callback"
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
STRANGE_KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


@dataclass
class FakeDirectory:
    """What it knows, and how it misbehaves."""

    url: str = ""
    subject: str = "person-1"
    claims: dict[str, Any] = field(default_factory=dict)
    """Instead of the right claims; None leaves one out."""
    sign_with: str = "RS256"
    key: Any = field(default_factory=lambda: KEY)
    metadata: dict[str, Any] = field(default_factory=dict)
    token_status: int = 200
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """Why requests for tokens were refused."""

    def visit(self, address: str) -> str:
        """Sign in as a person does who was sent to an address; return the code."""
        parts = urlsplit(address)
        assert address.startswith(f"{self.url}/authorize?")
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert given["response_type"] == "code"
        assert given["client_id"] == CLIENT_ID
        assert given["redirect_uri"] == REDIRECT_URL
        assert given["scope"] == "openid"
        assert given["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = given
        return code

    def id_token(self, nonce: str) -> str:
        """Return what is said of the person."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": self.subject,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            **self.claims,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        if self.sign_with == "none":
            return ".".join([_text({"alg": "none", "typ": "JWT"}), _text(kept), ""])
        key = OctKey.import_key(CLIENT_SECRET) if self.sign_with == "HS256" else self.key
        return jwt.encode({"alg": self.sign_with, "kid": "one"}, kept, key, algorithms=[self.sign_with])

    def answer_token(self, form: dict[str, str], authorization: str | None) -> tuple[int, dict[str, Any]]:
        """Answer a request for a token."""
        wanted = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        started = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode()
        why = (
            "client" if authorization != wanted
            else "code" if started is None
            else "pkce" if challenge.rstrip("=") != started["code_challenge"]
            else "redirect" if form.get("redirect_uri") != REDIRECT_URL
            else ""
        )  # fmt: skip
        if why or started is None:
            self.refused.append(why)
            return 400, {"error": "invalid_grant"}
        token = self.id_token(started["nonce"])
        return self.token_status, {"access_token": "x", "token_type": "Bearer", "id_token": token}

    def pages(self) -> dict[str, Any]:
        """Return what it shows by path."""
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                **self.metadata,
            },
            "/jwks": {"keys": [{"kty": "strange", "kid": "zero"}, KEY.as_dict(private=False)]},
        }


@contextmanager
def running() -> Iterator[FakeDirectory]:
    """Serve a directory while the block lasts."""
    directory = FakeDirectory()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = directory.pages().get(self.path)
            self._answer(200 if page else 404, page or {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(*directory.answer_token(form, self.headers["Authorization"]))

        def _answer(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    directory.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield directory
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _text(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

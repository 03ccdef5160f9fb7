"""The ways by which people sign in with the office's directory."""

from typing import Any

from sqlalchemy.orm import Session

from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Answer

from . import schemas
from .commands import oidc
from .directory import directory_of
from .domain.oidc import WAIT, DirectoryUnavailable, NotConfigured, SignInRefused

#: Its name binds it to this host and to TLS (RFC 6265bis).
COOKIE = "__Host-xinhuo-oidc"
_OPTIONS = "Path=/; Secure; HttpOnly; SameSite=Lax"


class DirectoryEntrypoints(Service):
    """Signing in with the office's directory, where there is one."""

    @http("GET", "/v1/oidc/start", right=PUBLIC_RIGHT, status=302, errors=(NotConfigured, DirectoryUnavailable))
    def start_oidc(self, session: Session) -> Answer:
        """Send the browser to the directory."""
        address, browser = oidc.start(self.runtime.db, self.runtime.keys, directory_of(self.runtime.settings))
        cookie = f"{COOKIE}={browser}; Max-Age={int(WAIT.total_seconds())}; {_OPTIONS}"
        return Answer(headers={"Location": address, "Set-Cookie": cookie})

    @http(
        "GET",
        "/v1/oidc/callback",
        right=PUBLIC_RIGHT,
        query=schemas.CallbackQuery,
        cookie=COOKIE,
        returns=schemas.Tokens,
        errors=(NotConfigured, SignInRefused, DirectoryUnavailable),
    )
    def come_back_from_oidc(self, session: Session, query: dict[str, Any], cookie: str | None) -> Answer:
        """Sign in with what the directory says of the browser that was sent there."""
        directory = directory_of(self.runtime.settings)
        tokens = oidc.come_back(self.runtime.db, self.runtime.keys, directory, query["code"], query["state"], cookie)
        return Answer(tokens, headers={"Set-Cookie": f"{COOKIE}=; Max-Age=0; {_OPTIONS}"})

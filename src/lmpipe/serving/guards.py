"""What every request passes on its way to a route and back: the key, the host it was meant for, the headers of every answer,
and the answer where a route fails by a defect of ours.

Plain ASGI, outside of all routes, so that no route can be forgotten. A web page on another site can neither read answers (no
CORS header is ever sent) nor send requests under a name of its own that resolves to this machine (the host is checked where the
server listens on this machine only).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from base64 import b64encode
from collections.abc import Callable
from importlib.resources import files

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmpipe.serving.openai import error_body

PUBLIC_PATHS = ("/", "/health")
"""Open without a key: the page holds no secret, and who watches over the server has none."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

_log = logging.getLogger(__name__)


def page() -> str:
    """The web page."""
    return files("lmpipe.serving").joinpath("page/chat.html").read_text(encoding="utf-8")


def content_security_policy(html: str) -> str:
    """A policy that lets exactly the page's own inline style and script run, and talk to this server only."""
    allowed = {tag: _hashes(html, tag) for tag in ("style", "script")}
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(html: str, tag: str) -> str:
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
    return " ".join(f"'sha256-{b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies)


class Guard:
    """The middleware.

    Args:
        app: what it guards.
        key: what clients must send as `Authorization: Bearer ...`; none: everybody may.
        hosts: the names under which the server may be called; none: any.
        policy: the content security policy.
        count: told path and status of every answer.
    """

    def __init__(
        self, app: ASGIApp, *, key: str, hosts: frozenset[str], policy: str, count: Callable[[str, int], None]
    ) -> None:
        self.app, self.hosts, self.count = app, hosts, count
        self.key_digest = hashlib.sha256(key.encode()).digest() if key else b""
        self.headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers[name] = value
                self.count(scope["path"], message["status"])
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        try:
            await (refusal or self.app)(scope, receive, send_guarded)
        except Exception:
            _log.exception("a request failed")  # the traceback holds no text of a user's
            if begun:
                raise  # too late to say so: the server cuts the connection
            await JSONResponse(error_body("the server failed; see its log", 500), 500)(scope, receive, send_guarded)

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        host = re.sub(r":\d*$", "", headers.get("host", "").lower())
        if self.hosts and host not in self.hosts:
            expected = ", ".join(sorted(self.hosts))
            return JSONResponse(error_body(f"this server does not answer for that host; expected: {expected}", 421), 421)
        if self.key_digest and path not in PUBLIC_PATHS and not self._knows_key(headers):
            body = error_body("the API key is missing or wrong; send 'Authorization: Bearer KEY'", 401, code="invalid_api_key")
            return JSONResponse(body, 401, headers={"www-authenticate": "Bearer"})
        return None

    def _knows_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("latin-1")).digest()  # equal lengths, so that time tells nothing
        return hmac.compare_digest(digest, self.key_digest) and scheme.lower() == "bearer"

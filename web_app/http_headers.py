"""What every answer of the server carries, the cookie that names a visitor, and the paths that are not for visitors."""

import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "visitor"
TOKEN_BYTES = 32
HIDDEN = ("/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")
# Browsers then ask no other host for anything, and show the page in no frame of another.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class SafeHeaders:
    """ASGI middleware that adds HEADERS, names each visitor by a random cookie, and hides HIDDEN.

    The cookie lasts as long as the browser's session. Scripts in the browser cannot read it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Headers(scope=scope)
        is_new = not cookie_token(request.get("cookie", ""))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.update(HEADERS)
                if is_new and answer.get("content-type", "").startswith("text/html"):
                    answer.append("Set-Cookie", new_cookie(scope, request))
            await send(message)

        app = PlainTextResponse("Not Found", 404) if scope["path"].startswith(HIDDEN) else self._app
        await app(scope, receive, send_with_headers)


def new_cookie(scope: Scope, request: Headers) -> str:
    is_encrypted = "https" in (scope["scheme"], request.get("x-forwarded-proto"))
    attributes = "; Path=/; HttpOnly; SameSite=Lax" + "; Secure" * is_encrypted
    return f"{COOKIE}={secrets.token_urlsafe(TOKEN_BYTES)}{attributes}"


def cookie_token(header: str) -> str:
    """The token in a Cookie header; empty without one."""
    try:
        return cookies[COOKIE].value if COOKIE in (cookies := SimpleCookie(header)) else ""
    except CookieError:
        return ""

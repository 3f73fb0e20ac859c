"""Headers that keep our pages to our own scripts, styles and hosts, and out of other sites' frames.

Answers for programs alone need none of them, and say by `NOT_A_PAGE` that no browser may take them for a page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

NOT_A_PAGE: Header = (b"x-content-type-options", b"nosniff")
ALWAYS: tuple[Header, ...] = (
    NOT_A_PAGE,
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


def content_security_policy(image_hosts: Iterable[str]) -> str:
    """Everything from ourselves alone; images also as data, as they are posted, and from the allowed hosts."""
    images = " ".join(["'self'", "data:", *(f"https://{host}" for host in sorted(image_hosts))])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
        f"img-src {images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class PageHeaders:
    """ASGI middleware: adds the headers to every answer; one that the application has set stays.

    Parameters
    ----------
    bare : paths that answer programs alone, at a rate at which these headers would cost more than they are worth
    """

    def __init__(self, app: ASGIApp, *, image_hosts: Iterable[str] = (), bare: Collection[str] = ()) -> None:
        self._app = app
        self._bare = bare
        policy = content_security_policy(image_hosts).encode()
        self._headers = (*ALWAYS, (b"content-security-policy", policy))
        self._names = frozenset(name for name, _ in self._headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with the headers."""
        if scope["type"] != "http" or scope["path"] in self._bare:
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._with_ours(message.get("headers", ()))}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _with_ours(self, headers: Iterable[Header]) -> list[Header]:
        present = {name.lower() for name, _ in headers}
        if self._names.isdisjoint(present):
            return [*headers, *self._headers]
        return [*headers, *(header for header in self._headers if header[0] not in present)]

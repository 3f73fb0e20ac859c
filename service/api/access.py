"""Who may do what: API keys, their roles, and the roles that each route admits.

Keys are kept as SHA-256 digests: they are random, not chosen, so a slow hash would add nothing. Without any key the
service answers on loopback only, to pages and programs of the same machine.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from service.api.guards import refuse
from service.errors import Forbidden, SettingsError, TurnedAway, Unauthenticated

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Role = Literal["classify", "label", "ops", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

OPEN: frozenset[Role] = frozenset()  # answered without a key: the probes
ANY_ROLE = frozenset(ROLES)
CLASSIFY: frozenset[Role] = frozenset({"classify", "admin"})
LABEL: frozenset[Role] = frozenset({"label", "admin"})
WATCH: frozenset[Role] = frozenset({"label", "ops", "admin"})
OPS: frozenset[Role] = frozenset({"ops", "admin"})
ADMIN: frozenset[Role] = frozenset({"admin"})

# The matrix. A path that ends in "/" stands for everything below it; what is not listed is for admin alone.
ROUTES: Mapping[tuple[str, str], frozenset[Role]] = {
    ("GET", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("POST", "/classify"): CLASSIFY,
    ("GET", "/label-queue"): LABEL,
    ("POST", "/label-queue/lease"): LABEL,
    ("POST", "/label-queue/extend"): LABEL,
    ("POST", "/label-queue/release"): LABEL,
    ("POST", "/label-queue/labels"): LABEL,
    ("GET", "/label-queue/stats"): WATCH,
    ("GET", "/label-queue/labelling-config"): LABEL,
    ("GET", "/quality"): WATCH,
    ("GET", "/model"): ANY_ROLE,
    ("GET", "/label"): LABEL,
    ("GET", "/"): ANY_ROLE,
    ("GET", "/docs"): ANY_ROLE,
    ("GET", "/openapi.json"): ANY_ROLE,
    ("GET", "/pages/"): ANY_ROLE,
    ("GET", "/metrics"): OPS,
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS_READ = frozenset({b"authorization", b"host", b"origin", b"sec-fetch-site"})
N_LIVE_KEYS = 2  # of one caller: the old one and the new one, while they change over
ENTRY = re.compile(r"(?P<caller>[a-z][a-z0-9-]{0,31}):(?P<roles>[a-z+]+):(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A live key: whose it is and what it opens."""

    caller: str
    roles: frozenset[Role]
    sha256: bytes = field(repr=False)


class KeyRing:
    """The live keys.

    Raises
    ------
    SettingsError
        If a caller has more than `N_LIVE_KEYS` keys, or two keys are the same.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)
        crowded = [
            caller for caller, n_keys in Counter(key.caller for key in self._keys).items() if n_keys > N_LIVE_KEYS
        ]
        if crowded:
            raise SettingsError(
                f"at most {N_LIVE_KEYS} API keys a caller can be live; drop the oldest of {crowded[0]!r}"
            )
        if len({key.sha256 for key in self._keys}) < len(self._keys):
            raise SettingsError("an API key is listed twice; give each caller a key of its own")

    def __bool__(self) -> bool:
        """Whether there is any key."""
        return bool(self._keys)

    def find(self, presented: str) -> ApiKey:
        """Find the key that was presented, in a time that does not depend on which one it is.

        Raises
        ------
        Unauthenticated
            If it is none of the live ones.
        """
        digest = hashlib.sha256(presented.encode()).digest()
        matches = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not matches:
            raise Unauthenticated("the API key is not one of the live ones; ask an operator for a new one")
        return matches[0]


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Read `caller:role+role:sha256` entries, separated by commas or white space.

    Raises
    ------
    SettingsError
        Naming the entry by its position, never quoting it: somebody may have put the key itself there.
    """
    return tuple(
        _parse_key(entry, position) for position, entry in enumerate(re.split(r"[,\s]+", text.strip()), 1) if entry
    )


def _parse_key(entry: str, position: int) -> ApiKey:
    parts = ENTRY.fullmatch(entry)
    roles = frozenset(role for role in ROLES if parts and role in parts["roles"].split("+"))
    if parts is None or len(roles) != len(parts["roles"].split("+")):
        raise SettingsError(
            f"API key {position} is not of the form caller:role+role:sha256, with a lower-case caller, roles out of "
            f"{', '.join(ROLES)}, and the SHA-256 of the key in 64 hexadecimal digits"
        )
    return ApiKey(parts["caller"], roles, bytes.fromhex(parts["sha256"]))


def check_binding(host: str, keys: KeyRing) -> None:
    """Refuse to listen where others can call when nobody needs a key.

    Raises
    ------
    SettingsError
        If there are no keys and the host is not a loopback address.
    """
    if not keys and not is_loopback(host):
        raise SettingsError("set WINNOW_API_KEYS, or listen on 127.0.0.1: without keys only loopback is served")


@lru_cache(maxsize=256)  # the same few come again with every request, and reading one takes microseconds
def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def roles_for(method: str, path: str) -> frozenset[Role]:
    """Roles that may make a request; empty means that it is open to all."""
    method = "GET" if method == "HEAD" else method
    if (method, path) in ROUTES:
        return ROUTES[method, path]
    folder = f"/{path.split('/')[1]}/" if path.count("/") > 1 else path
    return ROUTES.get((method, folder), ADMIN)


class AccessGuard:
    """ASGI middleware: answers 401 or 403 to requests that the matrix does not admit.

    The caller's name goes into the scope as `winnow.caller`, for logs.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # we have none
            return
        if scope["type"] == "http":
            try:
                scope["winnow.caller"] = self._check(scope)
            except TurnedAway as refusal:
                await refuse(send, refusal)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> str:
        roles = roles_for(scope["method"], scope["path"])
        if roles == OPEN:
            return "anyone"
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in HEADERS_READ
        }
        _check_origin(scope["method"], headers)
        if not self._keys:
            _check_local(scope, headers)
            return "local"
        key = self._keys.find(_presented(headers.get("authorization", "")))
        if not key.roles & roles:
            raise Forbidden(f"this needs one of the roles {', '.join(sorted(roles))}; the API key has another")
        return key.caller


def _presented(authorization: str) -> str:
    """Take the key out of `Bearer KEY`, or out of the password that a browser asked its user for."""
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Unauthenticated(
                "the Authorization header is not valid Basic; send the key as the password"
            ) from error
    raise Unauthenticated("send the API key as 'Authorization: Bearer KEY', or as the password in a browser")


def _check_origin(method: str, headers: Mapping[str, str]) -> None:
    """A browser sends its stored password along for any page; only our own pages may change anything with it."""
    if method in SAFE_METHODS:
        return
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin", "")
    foreign = bool(origin) and origin.partition("://")[2] != headers.get("host", "")
    if site not in {"none", "same-origin"} or foreign:
        raise Forbidden("another site's page may not do this; use the pages of this service")


def _check_local(scope: Scope, headers: Mapping[str, str]) -> None:
    """Without keys: only on loopback, and only by a local name, so that no website can reach us by renaming itself."""
    server = scope.get("server")
    is_socket_file = server is not None and server[1] is None
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if not ((is_socket_file or (server is not None and is_loopback(server[0]))) and is_loopback(name)):
        raise Forbidden("without WINNOW_API_KEYS only this machine is served, as localhost or 127.0.0.1")

"""Fetching a product's image from a URL that a stranger wrote, without becoming the stranger's hands.

Off unless hosts are allowed. What the bytes show is left to `service.features.image`.

A URL is followed only if it is plain https to a host on the allow-list, and that host's name, resolved once, gives
public addresses alone. The connection goes to the very address that was checked, with the certificate of the name,
so a name that answers differently a moment later (DNS rebinding) gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import h11

from service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Outcome = Literal["fetched", "refused", "not_found", "too_large", "timed_out", "failed", "no_room"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Resolve = Callable[[str, int], tuple[str, ...]]

HTTPS = 443
MAX_URL_LENGTH = 2048
CHUNK_BYTES = 64 * 1024
MAX_HEADER_BYTES = 16 * 1024
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(
    rf"(?:{LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?", re.ASCII
)  # a last label of letters: no address
URL = re.compile(
    r"https://(?P<host>[a-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<target>/[!$-;=?-\[\]_a-z~]*)?",
    re.ASCII | re.IGNORECASE,
)  # no userinfo, no brackets around a host, no backslash, no fragment, no control character, nothing beyond ASCII
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")  # tunnels and protocol use
)
UNICAST_V6 = ipaddress.ip_network("2000::/3")  # all public IPv6; outside are mapped, translated and local addresses


@dataclass(frozen=True, slots=True)
class Fetch:
    """One image, or why there is none; the outcome comes from a small closed set, so it can be a metric's label."""

    outcome: Outcome
    content: bytes | None = field(default=None, repr=False)


class _NotFetched(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(slots=True)
class _Room:
    """Bytes that the images of all calls may still take."""

    n_bytes: int


@dataclass(slots=True)
class _Allowance:
    """Bytes that one call may still bring in, shared by its images, out of the room that all calls share."""

    n_bytes: int
    room: _Room
    n_taken: int = 0

    def take(self, n_bytes: int) -> None:
        self.n_taken += n_bytes
        self.room.n_bytes -= n_bytes
        if self.n_taken > self.n_bytes:
            raise _NotFetched("too_large")
        if self.room.n_bytes < 0:
            raise _NotFetched("no_room")

    def give_back(self) -> None:
        self.room.n_bytes += self.n_taken


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet can reach, and no tunnel to another."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip not in UNICAST_V6:
        return False
    inside = any(ip in network for network in NOT_PUBLIC if network.version == ip.version)
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or inside)


def resolve_name(host: str, port: int) -> tuple[str, ...]:
    """Every address that the system's resolver gives for a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(str(socket_address[0]) for *_, socket_address in found)


class ImageFetcher:
    """Fetches images from allowed hosts, within caps of size, time and number.

    Parameters
    ----------
    hosts : names such as "cdn.shop.example"; "*.shop.example" allows every name below it; none switches fetching off
    max_image_bytes, max_call_bytes, max_held_bytes : of one image, of all images of one call, and of all calls together
    timeout_seconds : for a whole call, from the name to the last byte
    n_connections : open at one time; further fetches wait, within their timeout
    tls : checks certificates against the system's authorities by default
    resolve, may_connect, port : what a test on loopback replaces

    Raises
    ------
    SettingsError
        If a host is not a plain lower-case DNS name; addresses are never allowed.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        max_image_bytes: int = 2 * 1024 * 1024,
        max_call_bytes: int = 16 * 1024 * 1024,
        max_held_bytes: int = 32 * 1024 * 1024,
        timeout_seconds: float = 3.0,
        n_connections: int = 16,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve_name,
        may_connect: Callable[[str], bool] = is_public,
        port: int = HTTPS,
    ) -> None:
        self._hosts = frozenset(_checked_host(host) for host in hosts)
        self._max_image_bytes = max_image_bytes
        self._max_call_bytes = max_call_bytes
        self._room = _Room(max_held_bytes)
        self._timeout_seconds = timeout_seconds
        self._connections = asyncio.Semaphore(n_connections)
        self._tls = tls or (ssl.create_default_context() if self._hosts else None)
        self._resolve = resolve
        self._may_connect = may_connect
        self._port = port
        # its own threads: a name server that hangs must not starve whatever else runs in the default pool
        self._resolvers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="resolve")

    @property
    def is_on(self) -> bool:
        """Whether any host is allowed."""
        return bool(self._hosts)

    @asynccontextmanager
    async def fetched(self, urls: Sequence[str]) -> AsyncIterator[list[Fetch]]:
        """Fetch every URL at once, without raising; the images take room until the block ends."""
        allowance = _Allowance(self._max_call_bytes, self._room)
        try:
            yield list(await asyncio.gather(*(self._fetch(url, allowance) for url in urls)))
        finally:
            allowance.give_back()

    def close(self) -> None:
        """Let go of the resolver's threads without waiting for them."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _fetch(self, url: str, allowance: _Allowance) -> Fetch:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                host, target = self._checked_url(url)
                async with self._connections:
                    return Fetch("fetched", await self._get(host, target, allowance))
        except _NotFetched as reason:
            return Fetch(reason.outcome)
        except TimeoutError:
            return Fetch("timed_out")
        except (OSError, h11.RemoteProtocolError):
            return Fetch("failed")

    def _checked_url(self, url: str) -> tuple[str, str]:
        parts = URL.fullmatch(url) if len(url) <= MAX_URL_LENGTH else None
        if parts is None or int(parts["port"] or self._port) != self._port:
            raise _NotFetched("refused")
        host = parts["host"].lower()
        if not (HOST.fullmatch(host) and self._allows(host)):
            raise _NotFetched("refused")
        return host, parts["target"] or "/"

    def _allows(self, host: str) -> bool:
        labels = host.split(".")
        parents = (".".join(labels[start:]) for start in range(1, len(labels)))
        return host in self._hosts or any(f"*.{parent}" in self._hosts for parent in parents)

    async def _checked_address(self, host: str) -> str:
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._resolvers, self._resolve, host, self._port)
        if not addresses or not all(self._may_connect(address) for address in addresses):
            raise _NotFetched("refused")
        return addresses[0]

    async def _get(self, host: str, target: str, allowance: _Allowance) -> bytes:
        address = await self._checked_address(host)
        async with self._connected(address, host) as (reader, writer):
            wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
            writer.write(_request(wire, host, target))
            return await self._read_body(wire, reader, allowance)

    @asynccontextmanager
    async def _connected(
        self, address: str, host: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(address, self._port, ssl=self._tls, server_hostname=host)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()  # no farewell: a peer that will not close must not hold us

    async def _read_body(self, wire: h11.Connection, reader: asyncio.StreamReader, allowance: _Allowance) -> bytes:
        content = bytearray()
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(await reader.read(CHUNK_BYTES))
            elif isinstance(event, h11.Response):
                _check_response(event, self._max_image_bytes)
            elif isinstance(event, h11.Data):
                content += event.data
                allowance.take(len(event.data))
                if len(content) > self._max_image_bytes:
                    raise _NotFetched("too_large")
            elif isinstance(event, h11.EndOfMessage):
                return bytes(content)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Names between commas or white space, each checked.

    Raises
    ------
    SettingsError
        If one is no plain DNS name.
    """
    return tuple(_checked_host(host) for host in re.split(r"[,\s]+", text) if host)


def _checked_host(host: str) -> str:
    if not HOST.fullmatch(host.removeprefix("*.")):
        raise SettingsError(
            "an image host must be a lower-case DNS name such as cdn.shop.example or *.shop.example; "
            "addresses, ports, paths and names without a dot are not allowed"
        )
    return host


def _request(wire: h11.Connection, host: str, target: str) -> bytes:
    headers = {
        "Host": host,
        "User-Agent": "winnow",
        "Accept": "image/jpeg, image/png, image/webp",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    head = wire.send(h11.Request(method="GET", target=target, headers=list(headers.items()))) or b""
    return head + (wire.send(h11.EndOfMessage()) or b"")


def _check_response(response: h11.Response, max_bytes: int) -> None:
    headers = dict(response.headers)
    if response.status_code != 200:
        redirected = 300 <= response.status_code < 400
        raise _NotFetched("refused" if redirected else "not_found" if response.status_code in {404, 410} else "failed")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _NotFetched("refused")
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise _NotFetched("too_large")

"""A real https server on loopback that serves one answer, and a canary that counts who knocks."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.image_fetch import Fetch, ImageFetcher
from tests.programs import needed

NAME = "cdn.shop.example"


@dataclass(frozen=True)
class Certificate:
    """A certificate for `NAME` that signs itself, with its key."""

    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


def make_certificate(directory: Path) -> Certificate:
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    command = [needed("openssl", package="openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made


def trusting(certificate: Certificate, port: int, **changes: Any) -> ImageFetcher:
    """A fetcher for which loopback is public and the test's certificate is an authority."""
    defaults: dict[str, Any] = {
        "tls": certificate.client(),
        "resolve": lambda host, port: ("127.0.0.1",),
        "may_connect": lambda address: True,
        "port": port,
        "timeout_seconds": 10.0,
    }
    return ImageFetcher([NAME], **(defaults | changes))


async def fetch_all(fetcher: ImageFetcher, urls: Sequence[str]) -> list[Fetch]:
    async with fetcher.fetched(urls) as fetches:
        return fetches


@dataclass
class ImageHost:
    """What the server has seen."""

    port: int
    requests: list[bytes] = field(default_factory=list)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def image_host(
    certificate: Certificate, answer: Answer, *, address: str = "127.0.0.1"
) -> AsyncIterator[ImageHost]:
    """Serve `answer` to every request until the block ends."""
    host = ImageHost(port=0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the fetcher hung up, as some tests want
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    server = await asyncio.start_server(serve, address, 0, ssl=certificate.server())
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


@dataclass
class Canary:
    """A listener that nobody should reach."""

    port: int
    n_reached: int = 0


@asynccontextmanager
async def canary(port: int = 0) -> AsyncIterator[Canary]:
    """Count every connection to 127.0.0.1 and ::1 on one port until the block ends."""
    bird = Canary(port)

    def knocked(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bird.n_reached += 1
        writer.transport.abort()

    v4 = await asyncio.start_server(knocked, "127.0.0.1", port)
    bird.port = v4.sockets[0].getsockname()[1]
    try:
        servers = [v4, await asyncio.start_server(knocked, "::1", bird.port)]
    except OSError:
        servers = [v4]  # a machine without IPv6
    try:
        yield bird
    finally:
        for server in servers:
            server.close()

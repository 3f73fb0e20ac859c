"""Requests that nobody should send, to a real server: memory, statuses, and whether good clients are still served.

Run: python -m benchmarks.hostile_requests [--stand-in]. It serves the promoted bundle of BENTOML_HOME from a copy, with
one worker, and posts huge bodies, image bombs, wrong JSON, bodies that stall and clients that hang up. After each kind
a good client asks. The kernel's record of the worker's memory is reset before each kind and read after it. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from benchmarks.claims import Claim, conclude
from benchmarks.image_bombs import bombs, noise, photo
from benchmarks.servers import Server, serving, winnow_command
from benchmarks.traffic import copied_home

MAX_GROWTH_BYTES = 100_000_000
AT_ONCE = 16
N_STALLED, N_GOOD = 50, 20
N_HANG_UPS = 200
JSON_TYPE = b"Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Kind:
    """One kind of hostile request: bodies to send at once, and the statuses that are right."""

    name: str
    bodies: Callable[[], Sequence[bytes]]
    statuses: frozenset[int]
    chunked: bool = False  # does not say how long it is


@dataclass(frozen=True)
class Target:
    """A server, its one worker, and what a good product looks like there."""

    server: Server
    worker: psutil.Process
    example: dict[str, Any]
    image: str

    def product(self, **changes: Any) -> dict[str, Any]:
        """The example with some fields changed."""
        return {**self.example, **changes}

    def body(self, *products: dict[str, Any]) -> bytes:
        """A classify request's body."""
        return json.dumps({"products": products}).encode()


def main() -> int:
    """Send everything, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winnow-hostile-") as temporary:
        directory = Path(temporary)
        home = copied_home(directory, tiny=arguments.stand_in)
        environment = {"BENTOML_HOME": str(home), "WINNOW_WORKERS": "1", "WINNOW_BODY_SECONDS": "8"}
        log = directory / "log"
        with serving("winnow", winnow_command(), ready="/readyz", environment=environment, log=log) as server:
            target = _target(server)
            claims = [*_memory(target), *asyncio.run(_stalled(target)), *asyncio.run(_hung_up(target)), _logged(log)]
    return conclude("Hostile requests", claims)


def _target(server: Server) -> Target:
    described = httpx.get(f"{server.url}/openapi.json", timeout=20).json()["paths"]["/classify"]["post"]
    example = described["requestBody"]["content"]["application/json"]["example"]["products"][0]
    image = httpx.get(f"{server.url}/model", timeout=20).json()["fields"]["image"]
    worker = next(process for process in server.tree() if "bentoml_impl" in " ".join(process.cmdline()))
    return Target(server, worker, example, image)


def _memory(target: Target) -> Iterator[Claim]:
    usual = [target.body(*[target.product(**{target.image: photo(600, 600)})] * 4)] * AT_ONCE
    for _ in range(10):
        asyncio.run(_post_all(target, usual, chunked=False))
    progress = Console(stderr=True)
    for kind in _kinds(target):
        before = _reset_peak(target.worker)
        statuses = Counter[int]()
        for body in [kind.bodies(), kind.bodies()]:
            statuses += asyncio.run(_post_all(target, body, chunked=kind.chunked))
        growth = _peak(target.worker) - before
        good = asyncio.run(_post_all(target, [target.body(target.product())], chunked=False))
        found = f"+{growth / 1e6:.0f} MB, {_said(statuses)}; then a good one {_said(good)}"
        progress.print(f"{kind.name}: {found}")
        right = set(statuses) <= kind.statuses and set(good) == {200}
        yield Claim(kind.name, found, right and growth < MAX_GROWTH_BYTES)


def _kinds(target: Target) -> Iterator[Kind]:
    refused, answered, torn = frozenset({422, 400, 503}), frozenset({200, 503}), frozenset({413, 0})
    text = next(name for name, value in target.example.items() if isinstance(value, str) and name != "product_id")
    body, product, image = target.body, target.product, target.image
    long = "x" * 9_900_000
    yield Kind("10 MB of text in one field", lambda: [body(product(**{text: long}))] * 8, refused)
    yield Kind("10 MB of base64 in one image", lambda: [body(product(**{image: "A" * 9_900_000}))] * 8, refused)
    yield Kind(
        "4 MB of base64 that is no image", lambda: [body(product(**{image: "A" * 4_000_000}))] * AT_ONCE, answered
    )
    large = noise()
    yield Kind("a large image, good", lambda: [body(product(**{image: large}))] * AT_ONCE, answered)
    yield Kind("100 MB, declared", lambda: [bytes(100_000_000)] * 2, torn)
    yield Kind("100 MB, undeclared", lambda: [bytes(100_000_000)] * 2, torn, chunked=True)
    yield Kind("10,000 products", lambda: [body(*[product()] * 10_000)] * 8, refused | {413})
    yield Kind("JSON nested 4,000,000 deep", lambda: [b'{"products":' + b"[" * 4_000_000] * 8, refused)
    yield Kind(
        "a field nested 4,000,000 deep", lambda: [b'{"products":[{"product_id":' + b'{"a":' * 800_000] * 8, refused
    )
    yield Kind(
        "9 MB of digits",
        lambda: [body(product()).replace(b'"product_id"', b'"product_id":' + b"9" * 9_000_000 + b',"x"', 1)] * 8,
        refused,
    )
    yield Kind("no UTF-8, lone surrogates, NUL", lambda: list(_misspelt(target)), refused)
    for name, content in bombs():
        one = body(product(**{image: content}))
        several = body(*[product(**{image: content, "product_id": str(number)}) for number in range(4)])
        bodies = [one] * AT_ONCE + ([several] * 4 if len(several) < 9_000_000 else [])
        yield Kind(name, partial(list, bodies), answered)


def _misspelt(target: Target) -> Iterator[bytes]:
    good = target.body(target.product())
    for wrong in (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\x00"):
        yield good.replace(b'"product_id": "', b'"product_id": "' + wrong, 1)
    yield good.decode().encode("utf-16")
    yield good.replace(b'"product_id": "', b'"product_id": "\\u0000', 1)


async def _post_all(target: Target, bodies: Sequence[bytes], *, chunked: bool) -> Counter[int]:
    return Counter(await asyncio.gather(*(_post(target.server.port, body, chunked=chunked) for body in bodies)))


async def _post(port: int, body: bytes, *, chunked: bool) -> int:
    """Post one body on a connection of its own, in pieces, until it is sent or refused; the status, 0 for none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
    writer.write(b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\n" + JSON_TYPE + length + b"\r\n")
    sending = asyncio.create_task(_send(writer, body, chunked=chunked))
    try:
        return int((await asyncio.wait_for(reader.readline(), 120)).split()[1])
    except (ConnectionError, IndexError, TimeoutError):
        return 0
    finally:
        sending.cancel()
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, body: bytes, *, chunked: bool, size: int = 1 << 18) -> None:
    try:
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
    except ConnectionError:
        return  # refused before its end


async def _stalled(target: Target) -> list[Claim]:
    """Connections that send half a body and wait, beside good clients."""
    body = target.body(target.product())
    stalled = [await asyncio.open_connection("127.0.0.1", target.server.port) for _ in range(N_STALLED)]
    for _, writer in stalled:
        writer.write(b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\n" + JSON_TYPE)
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
        await writer.drain()
    started = time.monotonic()
    good = await _post_all(target, [body] * N_GOOD, chunked=False)
    seconds = time.monotonic() - started
    ended = Counter([int((await asyncio.wait_for(reader.readline(), 60)).split()[1]) for reader, _ in stalled])
    for _, writer in stalled:
        writer.transport.abort()
    found = f"{good[200]} of {N_GOOD} in {seconds:.1f} s; the stalled ones got {_said(ended)}"
    return [Claim(f"{N_GOOD} good clients beside {N_STALLED} stalled bodies", found, good[200] == N_GOOD)]


async def _hung_up(target: Target) -> list[Claim]:
    """Clients that go away within the body, and others that do so before the answer."""
    before = _counted(target.server)
    body = target.body(*[target.product()] * 64)
    for number in range(N_HANG_UPS):
        _, writer = await asyncio.open_connection("127.0.0.1", target.server.port)
        sent = body if number % 2 else body[: len(body) // 2]
        writer.write(b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\n" + JSON_TYPE)
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + sent)
        await writer.drain()
        writer.transport.abort()
    good = await _post_all(target, [target.body(target.product())] * N_GOOD, chunked=False)
    await asyncio.sleep(2)  # until the last of them has been noticed
    after = _counted(target.server)
    failed = after.get("failed", 0) - before.get("failed", 0)
    hung_up = after.get("hung_up", 0) - before.get("hung_up", 0)
    found = f"{failed:.0f} counted as failed, {hung_up:.0f} as hung up within the body; {_said(good)} to good clients"
    return [Claim(f"{N_HANG_UPS} clients that hang up are no error", found, not failed and hung_up == N_HANG_UPS / 2)]


def _counted(server: Server) -> dict[str, float]:
    text = httpx.get(f"{server.url}/metrics", timeout=20).text
    named = r'winnow_(?:requests|refused_requests)_total\{(?:outcome|reason)="(\w+)"[^}]*\} (\S+)'
    totals: Counter[str] = Counter()
    for name, value in re.findall(named, text):
        totals[name] += int(float(value))
    return dict(totals)


def _logged(log: Path) -> Claim:
    n_failed = log.read_text().count("request failed")
    n_tracebacks = log.read_text().count("Traceback")
    return Claim(
        "the log holds no failure",
        f"{n_failed} failed requests, {n_tracebacks} tracebacks",
        not n_failed + n_tracebacks,
    )


def _reset_peak(process: psutil.Process) -> int:
    """Forget the peak of a process's memory; its memory now."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return int(process.memory_info().rss)


def _peak(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _said(statuses: Counter[int]) -> str:
    return ", ".join(f"{n} x {status or 'no answer'}" for status, n in sorted(statuses.items()))


if __name__ == "__main__":
    raise SystemExit(main())

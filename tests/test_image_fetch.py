"""The image fetcher: it gets what it may, and no spelling of a private address makes it knock there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.image_fetch import HTTPS, Fetch, ImageFetcher, is_public
from tests.image_host import NAME, Certificate, ImageHost, canary, fetch_all, image_host, make_certificate, trusting
from tests.url_spellings import LOOPBACK_ANSWERS, SPELLINGS

PICTURE = b"\xff\xd8\xff" + bytes(2000)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"

NOT_PUBLIC = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "192.88.99.1",
    "0.1.2.3",
    "127.255.255.254",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "100::1",
    "5f00::1",
    "1::",
    "4000::1",
    "localhost",
    "127.1",
    "0x7f000001",
]
PUBLIC = ["93.184.215.14", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::200e"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def run(scenario: Coroutine[Any, Any, Fetch]) -> Fetch:
    return asyncio.run(scenario)


async def fetch_from(certificate: Certificate, response: bytes, *, path: str = "/a.jpg", **changes: Any) -> Fetch:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(response)

    async with image_host(certificate, answer) as host:
        [fetch] = await fetch_all(trusting(certificate, host.port, **changes), [f"https://{NAME}:{host.port}{path}"])
        return fetch


def test_an_allowed_image_comes_back_whole(certificate: Certificate) -> None:
    response = HEAD + f"Content-Length: {len(PICTURE)}\r\n\r\n".encode() + PICTURE

    fetch = run(fetch_from(certificate, response))

    assert fetch == Fetch("fetched", PICTURE)


def test_a_chunked_image_comes_back_whole(certificate: Certificate) -> None:
    response = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n"

    assert run(fetch_from(certificate, response)) == Fetch("fetched", b"abcdefgh")


def test_the_request_names_the_host_and_asks_for_plain_bytes(certificate: Certificate) -> None:
    async def scenario() -> ImageHost:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"Content-Length: 1\r\n\r\nx")

        async with image_host(certificate, answer) as host:
            await fetch_all(trusting(certificate, host.port), [f"https://CDN.shop.example:{host.port}/p/1.jpg?w=200"])
            return host

    [request] = asyncio.run(scenario()).requests

    lines = request.lower().split(b"\r\n")
    assert lines[0] == b"get /p/1.jpg?w=200 http/1.1"
    assert b"host: cdn.shop.example" in lines
    assert b"accept-encoding: identity" in lines
    assert not any(line.startswith((b"cookie", b"authorization", b"referer")) for line in lines)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /b.jpg\r\nContent-Length: 0\r\n\r\n", "refused"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "refused"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not_found"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "not_found"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "failed"),
        (b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx", "failed"),
        (HEAD + b"Content-Length: 5001\r\n\r\n", "too_large"),
        (HEAD + b"\r\n" + bytes(5001), "too_large"),
        (HEAD + b"Content-Length: 10\r\n\r\nshort", "failed"),
        (HEAD + b"X: " + bytes(40_000), "failed"),
        (b"SSH-2.0-OpenSSH\r\n", "failed"),
        (b"", "failed"),
    ],
)
def test_any_other_answer_has_an_outcome_and_no_content(
    certificate: Certificate, response: bytes, outcome: str
) -> None:
    fetch = run(fetch_from(certificate, response, max_image_bytes=5000))

    assert (fetch.outcome, fetch.content) == (outcome, None)


def test_images_of_one_call_share_an_allowance(certificate: Certificate) -> None:
    async def scenario() -> list[Fetch]:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(1000))

        async with image_host(certificate, answer) as host:
            fetcher = trusting(certificate, host.port, max_call_bytes=2500)
            return await fetch_all(fetcher, [f"https://{NAME}:{host.port}/{index}" for index in range(4)])

    outcomes = sorted(fetch.outcome for fetch in asyncio.run(scenario()))

    assert outcomes == ["fetched", "fetched", "too_large", "too_large"]


def test_a_server_that_never_finishes_times_out(certificate: Certificate) -> None:
    async def scenario() -> Fetch:
        released = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"Content-Length: 10\r\n\r\nabc")
            await writer.drain()
            await released.wait()

        async with image_host(certificate, answer) as host:
            fetcher = trusting(certificate, host.port, timeout_seconds=0.2)
            [fetch] = await fetch_all(fetcher, [f"https://{NAME}:{host.port}/"])
            released.set()
            return fetch

    assert run(scenario()) == Fetch("timed_out")


def test_a_certificate_for_another_name_is_a_failure(certificate: Certificate) -> None:
    async def scenario() -> Fetch:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"Content-Length: 1\r\n\r\nx")

        async with image_host(certificate, answer) as host:
            fetcher = ImageFetcher(
                ["img.other.example"],
                tls=certificate.client(),
                resolve=lambda name, port: ("127.0.0.1",),
                may_connect=lambda address: True,
                port=host.port,
            )
            [fetch] = await fetch_all(fetcher, [f"https://img.other.example:{host.port}/"])
            return fetch

    assert run(scenario()) == Fetch("failed")


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to(certificate: Certificate) -> None:
    async def scenario() -> tuple[Fetch, int, int]:
        answers = itertools.chain([("127.0.0.2",)], itertools.repeat(("127.0.0.1",)))
        names: list[str] = []

        def rebinding(host: str, port: int) -> tuple[str, ...]:
            names.append(host)
            return next(answers)

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"Content-Length: 1\r\n\r\nx")

        async with image_host(certificate, answer, address="127.0.0.2") as host, canary(host.port) as bird:
            fetcher = trusting(
                certificate, host.port, resolve=rebinding, may_connect=lambda address: address == "127.0.0.2"
            )
            [first] = await fetch_all(fetcher, [f"https://{NAME}:{host.port}/"])
            await fetch_all(fetcher, [f"https://{NAME}:{host.port}/"])  # by now the name points at the canary
            return first, len(names), bird.n_reached

    assert asyncio.run(scenario()) == (Fetch("fetched", b"x"), 2, 0)


def test_no_spelling_and_no_answer_reaches_the_canary_in_20_rounds_of_32() -> None:
    async def scenario() -> tuple[int, set[str], int]:
        async with canary() as bird:
            names = {f"n{index}.shop.example": answers for index, answers in enumerate(LOOPBACK_ANSWERS)}
            fetcher = ImageFetcher(
                [NAME, "*.shop.example"], resolve=lambda host, port: names.get(host, ("127.0.0.1",)), port=bird.port
            )
            resolved = [f"https://{name}:{bird.port}/" for name in names]
            attempts = itertools.cycle([*(url.replace("PORT", str(bird.port)) for url in SPELLINGS), *resolved])
            fetches: list[Fetch] = []
            for _ in range(20):
                fetches += await fetch_all(fetcher, list(itertools.islice(attempts, 32)))
            return bird.n_reached, {fetch.outcome for fetch in fetches}, len(fetches)

    assert len(SPELLINGS) >= 40
    assert asyncio.run(scenario()) == (0, {"refused"}, 640)


def test_the_canary_is_reached_when_the_address_check_is_off(certificate: Certificate) -> None:
    async def scenario() -> int:
        async with canary() as bird:
            await fetch_all(trusting(certificate, bird.port), [f"https://{NAME}:{bird.port}/"])
            return bird.n_reached

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_never_one_to_connect_to(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one_to_connect_to(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_no_ipv6_costume_makes_an_ipv4_address_public(address: Any) -> None:
    packed = int(address)

    costumes = [
        f"::ffff:{address}",
        f"::{address}",
        f"64:ff9b::{address}",
        f"2002:{packed >> 16:x}:{packed & 0xFFFF:x}::",
    ]

    assert not any(is_public(costume) for costume in costumes)


@given(st.text() | st.from_regex(r"https://[a-z0-9.@:\[\]%\\/-]{0,40}"))
def test_whatever_the_url_nothing_outside_the_allow_list_is_even_resolved(url: str) -> None:
    asked: list[str] = []

    def remember(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return ()

    async def scenario() -> list[Fetch]:
        return await fetch_all(ImageFetcher([NAME], resolve=remember), [url])

    [fetch] = asyncio.run(scenario())

    assert fetch == Fetch("refused")
    assert set(asked) <= {NAME}


def test_without_hosts_it_is_off_and_refuses_everything() -> None:
    fetcher = ImageFetcher([])

    [fetch] = asyncio.run(fetch_all(fetcher, [f"https://{NAME}:{HTTPS}/a.jpg"]))

    assert not fetcher.is_on
    assert fetch == Fetch("refused")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "a.example:80", "https://a.example", "*", "A.example", ""]
)
def test_a_host_that_is_no_plain_name_is_a_settings_error(host: str) -> None:
    with pytest.raises(SettingsError, match=r"cdn\.shop\.example"):
        ImageFetcher([host])


def test_a_wildcard_allows_names_below_and_not_the_name_itself(tmp_path: Path) -> None:
    asked: list[str] = []

    def remember(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return ()

    fetcher = ImageFetcher(["*.shop.example"], resolve=remember)

    asyncio.run(
        fetch_all(fetcher, [f"https://{host}/" for host in ("a.shop.example", "b.c.shop.example", "shop.example")])
    )

    assert sorted(asked) == ["a.shop.example", "b.c.shop.example"]

"""Access: which role may use which route, and how a key proves itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from service.api.access import (
    ANY_ROLE,
    ROLES,
    ROUTES,
    AccessGuard,
    KeyRing,
    Role,
    check_binding,
    is_loopback,
    parse_keys,
    roles_for,
)
from service.app import BENTOML_ROUTES, create_app
from service.errors import SettingsError, Unauthenticated
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.asgi import Exchange, answer_ok, scope

KEYS: dict[Role, str] = {role: f"{role}-{secrets.token_urlsafe(32)}" for role in ROLES}

# Written out by hand: a slip in the code's matrix must not be able to write its own test.
MATRIX: dict[tuple[str, str], set[Role] | None] = {
    ("GET", "/livez"): None,
    ("GET", "/readyz"): None,
    ("GET", "/healthz"): None,
    ("HEAD", "/readyz"): None,
    ("POST", "/classify"): {"classify", "admin"},
    ("GET", "/label-queue"): {"label", "admin"},
    ("POST", "/label-queue/lease"): {"label", "admin"},
    ("POST", "/label-queue/extend"): {"label", "admin"},
    ("POST", "/label-queue/release"): {"label", "admin"},
    ("POST", "/label-queue/labels"): {"label", "admin"},
    ("GET", "/label-queue/stats"): {"label", "ops", "admin"},
    ("GET", "/label-queue/labelling-config"): {"label", "admin"},
    ("DELETE", "/label-queue/products/x"): {"admin"},
    ("GET", "/quality"): {"label", "ops", "admin"},
    ("GET", "/model"): {"classify", "label", "ops", "admin"},
    ("GET", "/label"): {"label", "admin"},
    ("GET", "/"): {"classify", "label", "ops", "admin"},
    ("GET", "/docs"): {"classify", "label", "ops", "admin"},
    ("GET", "/openapi.json"): {"classify", "label", "ops", "admin"},
    ("GET", "/pages/winnow.css"): {"classify", "label", "ops", "admin"},
    ("GET", "/metrics"): {"ops", "admin"},
    # nobody thought of these: admin alone
    ("DELETE", "/label-queue"): {"admin"},
    ("PUT", "/classify"): {"admin"},
    ("OPTIONS", "/classify"): {"admin"},
    ("POST", "/"): {"admin"},
    ("POST", "/livez"): {"admin"},
    ("GET", "/schema.json"): {"admin"},
    ("GET", "//label-queue"): {"admin"},
    ("GET", "/label-queue/"): {"admin"},
    ("GET", "/LABEL-QUEUE"): {"admin"},
    ("GET", "/livez/../metrics"): {"admin"},
    ("GET", "/pages"): {"admin"},
    ("POST", "/pages/winnow.css"): {"admin"},
    ("GET", ""): {"admin"},
}


def entry(caller: str, roles: str, key: str) -> str:
    return f"{caller}:{roles}:{hashlib.sha256(key.encode()).hexdigest()}"


def ring(*entries: str) -> KeyRing:
    return KeyRing(parse_keys(",".join(entries)))


FULL_RING = ring(*(entry(role, role, key) for role, key in KEYS.items()))


def call(keys: KeyRing, request: dict[str, Any]) -> Exchange:
    exchange = Exchange([{"type": "http.request", "body": b""}])
    asyncio.run(AccessGuard(answer_ok, keys)(request, exchange.receive, exchange.send))
    return exchange


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", MATRIX, ids=" ".join)
def test_each_role_may_use_its_routes_and_no_others(route: tuple[str, str], role: Role) -> None:
    allowed = MATRIX[route]

    exchange = call(FULL_RING, scope(*route, headers=bearer(KEYS[role])))

    assert exchange.status == (200 if allowed is None or role in allowed else 403)


@pytest.mark.parametrize("route", MATRIX, ids=" ".join)
def test_without_a_key_only_the_probes_answer(route: tuple[str, str]) -> None:
    exchange = call(FULL_RING, scope(*route))

    assert exchange.status == (200 if MATRIX[route] is None else 401)


def test_every_route_of_the_matrix_is_tested() -> None:
    tested = {(method, path if path != "/pages/winnow.css" else "/pages/") for method, path in MATRIX}

    assert set(ROUTES) <= tested


def test_every_route_that_exists_stands_in_the_matrix(tmp_path: Path) -> None:
    app = create_app(Settings.from_env({"BENTOML_HOME": str(tmp_path)}), Metrics(CollectorRegistry()))
    routes = {
        (method, re.sub(r"\{[^}]*\}", "x", route.path))
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    files = {(method, path) for method, path in routes if path == "/pages/x"}
    by_bentoml = {("GET", path) for path in BENTOML_ROUTES}

    assert files == {("GET", "/pages/x"), ("HEAD", "/pages/x")}
    assert {(method, path) for method, path in (routes - files) | by_bentoml if method != "HEAD"} <= set(MATRIX)


def test_a_401_tells_programs_and_browsers_how_to_present_a_key() -> None:
    exchange = call(FULL_RING, scope("GET", "/label"))

    assert exchange.problem["title"] == "API key needed"
    assert exchange.headers["www-authenticate"] == 'Bearer, Basic realm="winnow", charset="UTF-8"'


def test_a_browser_presents_its_key_as_a_password() -> None:
    assert call(FULL_RING, scope("GET", "/label", headers=basic(f"ann:{KEYS['label']}"))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        bearer("x" * 43),
        bearer(""),
        bearer(KEYS["classify"][:-1]),
        bearer(hashlib.sha256(KEYS["classify"].encode()).hexdigest()),  # the stored digest opens nothing
        {"authorization": KEYS["classify"]},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
        {"authorization": f"Digest {KEYS['classify']}"},
        {"x-api-key": KEYS["classify"]},
        basic(f"{KEYS['classify']}:"),
    ],
)
def test_anything_but_a_live_key_is_a_401_that_does_not_repeat_it(headers: dict[str, str]) -> None:
    exchange = call(FULL_RING, scope("POST", "/classify", headers=headers))

    assert exchange.status == 401
    assert KEYS["classify"][:-1] not in str(exchange.sent)


def test_two_keys_of_one_caller_are_live_at_once() -> None:
    keys = ring(entry("shop", "classify", "old"), entry("shop", "classify", "new"))

    assert {keys.find(key).caller for key in ("old", "new")} == {"shop"}


def test_a_third_key_of_one_caller_is_refused() -> None:
    with pytest.raises(SettingsError, match="at most 2 API keys"):
        ring(*(entry("shop", "classify", key) for key in ("a", "b", "c")))


def test_one_key_for_two_callers_is_refused() -> None:
    with pytest.raises(SettingsError, match="listed twice"):
        ring(entry("shop", "classify", "same"), entry("team", "label", "same"))


def test_a_key_may_have_several_roles() -> None:
    keys = ring(entry("team", "label+ops", "k"))

    assert [call(keys, scope("GET", path, headers=bearer("k"))).status for path in ("/label", "/metrics")] == [200, 200]


@pytest.mark.parametrize(
    "text",
    [
        "my-secret-key",
        "shop:classify:my-secret-key",
        "shop:boss:" + "0" * 64,
        "shop:classify+:" + "0" * 64,
        "shop:classify+classify:" + "0" * 64,
        "shop:classify:" + "A" * 64,
        "Shop:classify:" + "0" * 64,
        "shop:classify:" + "0" * 64 + ":my-secret-key",
    ],
)
def test_a_malformed_entry_is_named_by_position_and_not_quoted(text: str) -> None:
    with pytest.raises(SettingsError, match="API key 2 is not of the form") as refused:
        parse_keys(entry("ok", "ops", "k") + " " + text)

    assert "my-secret-key" not in str(refused.value)


def test_keys_do_not_show_their_digest() -> None:
    [key] = parse_keys(entry("shop", "classify", "k"))

    assert "sha256" not in repr(key)


@given(st.text())
def test_a_guess_never_opens(guess: str) -> None:
    with pytest.raises(Unauthenticated):
        FULL_RING.find(guess)


@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "get"]), st.text(max_size=40))
def test_a_path_nobody_listed_is_for_admin_alone(method: str, path: str) -> None:
    listed = (method, path) in ROUTES or (method == "GET" and path.startswith("/pages/"))

    assert listed or roles_for(method, path) == {"admin"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_without_keys_loopback_may_be_bound(host: str) -> None:
    check_binding(host, KeyRing([]))

    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "winnow.example", "", "192.168.1.7"])
def test_without_keys_no_other_address_may_be_bound(host: str) -> None:
    with pytest.raises(SettingsError, match="WINNOW_API_KEYS"):
        check_binding(host, KeyRing([]))


def test_with_keys_any_address_may_be_bound() -> None:
    check_binding("0.0.0.0", FULL_RING)

    assert FULL_RING


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "[::1]", "localhost"])
def test_without_keys_loopback_is_served(host: str) -> None:
    assert call(KeyRing([]), scope("GET", "/label-queue", headers={"host": host})).status == 200


@pytest.mark.parametrize(
    ("server", "host"),
    [
        (("10.0.0.4", 3000), "localhost:3000"),  # bound elsewhere by other means than ours
        (("127.0.0.1", 3000), "evil.example:3000"),  # a website whose name now means 127.0.0.1
        (("127.0.0.1", 3000), "localhost.evil.example"),
        (("127.0.0.1", 3000), ""),
    ],
)
def test_without_keys_nobody_else_is_served(server: tuple[str, int], host: str) -> None:
    exchange = call(KeyRing([]), scope("GET", "/label-queue", headers={"host": host}, server=server))

    assert exchange.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:4000"},
    ],
)
@pytest.mark.parametrize("keys", [FULL_RING, KeyRing([])], ids=["keys", "no keys"])
def test_another_sites_page_cannot_post_with_the_browsers_password(headers: dict[str, str], keys: KeyRing) -> None:
    request = scope("POST", "/label-queue/labels", headers=headers | basic(f"ann:{KEYS['label']}"))

    assert call(keys, request).status == 403


def test_our_own_page_can_post_with_the_browsers_password() -> None:
    headers = {"sec-fetch-site": "same-origin", "origin": "http://localhost:3000"} | basic(f"ann:{KEYS['label']}")

    assert call(FULL_RING, scope("POST", "/label-queue/labels", headers=headers)).status == 200


def test_the_callers_name_reaches_the_application() -> None:
    seen: list[str] = []

    async def remember(request: Any, receive: Any, send: Any) -> None:
        seen.append(request["winnow.caller"])
        await answer_ok(request, receive, send)

    exchange = Exchange([{"type": "http.request", "body": b""}])
    request = scope("GET", "/metrics", headers=bearer(KEYS["ops"]))
    asyncio.run(AccessGuard(remember, FULL_RING)(request, exchange.receive, exchange.send))

    assert seen == ["ops"]


def test_websockets_are_closed() -> None:
    exchange = Exchange()

    asyncio.run(AccessGuard(answer_ok, FULL_RING)({"type": "websocket"}, exchange.receive, exchange.send))

    assert exchange.sent == [{"type": "websocket.close", "code": 1008}]


def test_any_role_means_every_role() -> None:
    assert set(ROLES) == ANY_ROLE

"""What a test posts to `/classify`, and what it reads of the answer."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
from PIL import Image
from starlette.testclient import TestClient


def picture(colour: str = "red", size: int = 40, file_format: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, file_format)
    return base64.b64encode(buffer.getvalue()).decode()


def post(client: TestClient, *products: dict[str, Any], query: str = "") -> httpx.Response:
    response: httpx.Response = client.post(f"/classify{query}", json={"products": list(products)})
    return response


def post_text(client: TestClient, text: str | bytes) -> httpx.Response:
    headers = {"content-type": "application/json"}
    response: httpx.Response = client.post("/classify", content=text, headers=headers)
    return response


def faults(response: httpx.Response) -> list[tuple[int | None, str | None]]:
    assert response.headers["content-type"] == "application/problem+json"
    return [(fault["product"], fault["field"]) for fault in response.json()["errors"]]


def results(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return list(response.json()["results"])

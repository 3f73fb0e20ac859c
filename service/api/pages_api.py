"""Routes for people and for tools: `/`, `/docs`, `/openapi.json`, `/model`, and the pages' own files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from service.api.openapi import openapi
from service.bundles.bundle import Manifest
from service.classifier import Classifier
from service.image_urls import ImageUrls
from service.pages.render import MEDIA_TYPES, asset, docs_page, overview_page, waiting_page


class PagesApi:
    """Endpoints that describe the bundle that is served."""

    def __init__(self, classifier: Classifier, images: ImageUrls, *, max_products: int) -> None:
        self._classifier = classifier
        self._images = images
        self._max_products = max_products

    async def overview(self, _: Request) -> Response:
        """Show what is served."""
        if not self._classifier.ready:
            return _page(waiting_page(), status=503)
        return _page(overview_page(self._classifier.served.manifest))

    async def docs(self, request: Request) -> Response:
        """Show how to call it."""
        if not self._classifier.ready:
            return _page(waiting_page(), status=503)
        url = str(request.base_url).rstrip("/")
        manifest = self._classifier.served.manifest
        column = self._images.column(manifest.fields)
        return _page(docs_page(manifest, url=url, max_products=self._max_products, url_column=column))

    async def openapi(self, _: Request) -> Response:
        """Describe the routes to tools."""
        manifest = self._classifier.served.manifest
        column = self._images.column(manifest.fields)
        return _json(openapi(manifest, max_products=self._max_products, url_column=column))

    async def model(self, _: Request) -> Response:
        """Say which bundle is served."""
        return _json(model_card(self._classifier.served.manifest))

    async def file(self, request: Request) -> Response:
        """Send a style sheet, script or drawing."""
        name = request.path_params["name"]
        media_type = MEDIA_TYPES.get(PurePosixPath(name).suffix)
        try:
            content = asset(name) if media_type else b""
        except FileNotFoundError:
            content = b""
        if not content:
            raise HTTPException(404)
        return Response(content, media_type=media_type, headers={"cache-control": "max-age=3600"})


def model_card(manifest: Manifest) -> dict[str, Any]:
    """What a client may want to know of a bundle."""
    classes = manifest.taxonomy.classes
    return {
        "version": manifest.version,
        "created_at": manifest.created_at,
        "catalogue": manifest.catalogue,
        "fields": manifest.fields.model_dump(),
        "taxonomy": {"version": manifest.taxonomy.version, "classes": classes},
        "thresholds": dict(zip(classes, manifest.thresholds, strict=True)),
        "untrained": [name for name, is_trained in zip(classes, manifest.trainable, strict=True) if not is_trained],
        "members": [member.model_dump(include={"name", "kind", "modalities"}) for member in manifest.members],
        "metrics": manifest.metrics,
    }


def _page(content: str, *, status: int = 200) -> Response:
    return HTMLResponse(content, status_code=status)


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content, inf_nan_mode="null"), media_type="application/json")

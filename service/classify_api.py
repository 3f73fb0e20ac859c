"""`POST /classify`: from the bytes of a request to the bytes of its answer.

What may stand in a request is left to `service.product_reader`, answering to `service.classifier`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from service.classifier import Classification, Classifier, Scored, Served, rounded
from service.errors import RequestRefused
from service.image_urls import ImageUrls
from service.product_reader import PostedProduct, ProductReader

DETAILS = ("members", "classes", "embedding")


class ClassifyApi:
    """The route's endpoint; keeps one reader, for the fields of the bundle that is served."""

    def __init__(self, classifier: Classifier, images: ImageUrls, *, max_products: int) -> None:
        self._classifier = classifier
        self._images = images
        self._max_products = max_products
        self._reader: tuple[Served, ProductReader] | None = None

    async def classify(self, request: Request) -> Response:
        """Answer one request, all of it by the bundle that is served when its body has arrived."""
        details = requested_details(request.query_params.multi_items())
        check_media_type(request)
        body = await request.body()  # whole and within its limits, by `service.guards`
        served = self._classifier.served
        posted = self._reader_of(served).read(body)
        async with self._images.filled(posted) as filled:
            classification = await self._classifier.classify(
                served, [entry.product for entry in filled.posted], [entry.record for entry in posted]
            )
        faults = {**filled.missing, **classification.unreadable}
        answer = {
            "model_version": served.manifest.version,
            "results": list(results(posted, classification, details, self._warnings(posted, faults, served))),
        }
        return Response(to_json(answer), media_type="application/json")

    def _warnings(
        self, posted: Sequence[PostedProduct], faults: Mapping[int, str], served: Served
    ) -> dict[int, dict[str, Any]]:
        fields = served.manifest.fields
        by_url = self._images.column(fields)
        return {
            index: {"field": fields.image if posted[index].image_url is None else by_url, "detail": detail}
            for index, detail in faults.items()
        }

    def _reader_of(self, served: Served) -> ProductReader:
        if self._reader is None or self._reader[0] is not served:
            fields = served.manifest.fields
            reader = ProductReader(fields, max_products=self._max_products, url_column=self._images.column(fields))
            self._reader = served, reader
        return self._reader[1]


def check_media_type(request: Request) -> None:
    """Accept JSON as it is, not compressed.

    Raises
    ------
    RequestRefused
        415 for anything else.
    """
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in {"", "charset=utf-8"}:
        raise RequestRefused(415, "unsupported media type", "send content-type: application/json, in UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestRefused(415, "unsupported media type", "send the body without content-encoding")


def requested_details(parameters: Sequence[tuple[str, str]]) -> frozenset[str]:
    """What `?detail=members,classes,embedding` asks for.

    Raises
    ------
    RequestRefused
        400 for another parameter or another detail.
    """
    details: set[str] = set()
    for name, value in parameters:
        if name != "detail":
            raise RequestRefused(400, "invalid query", "the only query parameter is detail")
        details.update(part.strip() for part in value.split(",") if part.strip())
    if not details <= set(DETAILS):
        raise RequestRefused(400, "invalid query", f"detail can be any of {', '.join(DETAILS)}, with commas between")
    return frozenset(details)


def results(
    posted: Sequence[PostedProduct],
    classification: Classification,
    details: frozenset[str],
    warnings: Mapping[int, dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """One result a product, in the order in which they came, with what is to be said of its image."""
    manifest = classification.served.manifest
    start = 0
    for part in classification.parts:
        for row, result in enumerate(_part_results(part, manifest.taxonomy.classes, classification.served)):
            index = start + row
            answer = {"product_id": posted[index].product.product_id, **result}
            if index in warnings:
                answer["warnings"] = [warnings[index]]
            if details:
                answer |= _details(part, row, classification.served, details)
            yield answer
        start += len(part.positive)


def _part_results(part: Scored, classes: Sequence[str], served: Served) -> Iterator[dict[str, Any]]:
    uncertainty, disagreement = part.uncertainty.tolist(), part.disagreement.tolist()
    positive, present = part.positive.tolist(), part.predictions.present.tolist()
    members = [member.name for member in served.manifest.members]
    for row, values in enumerate(part.probabilities.tolist()):
        yield {
            "probabilities": dict(zip(classes, values, strict=True)),
            "positive": [name for name, is_positive in zip(classes, positive[row], strict=True) if is_positive],
            "uncertainty": uncertainty[row],
            "disagreement": disagreement[row],
            "abstained": [name for name, is_present in zip(members, present[row], strict=True) if not is_present],
        }


def _details(part: Scored, row: int, served: Served, details: frozenset[str]) -> dict[str, Any]:
    classes = served.manifest.taxonomy.classes
    answer: dict[str, Any] = {}
    if "members" in details:
        present = part.predictions.present[row].tolist()
        by_member = rounded(part.predictions.member_probabilities[row]).tolist()
        answer["members"] = {
            member.name: dict(zip(classes, by_member[index], strict=True)) if present[index] else None
            for index, member in enumerate(served.manifest.members)
        }
    if "classes" in details:
        unsure, split = rounded(part.scores.uncertainty[row]).tolist(), rounded(part.scores.disagreement[row]).tolist()
        answer["classes"] = {
            name: {"uncertainty": unsure[index], "disagreement": split[index]} for index, name in enumerate(classes)
        }
    if "embedding" in details:
        answer["embedding"] = rounded(part.predictions.embedding[row]).tolist()
    return answer

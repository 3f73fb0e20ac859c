"""`POST /classify`: from the bytes of a request to the bytes of its answer.

What may stand in a request is left to `service.api.product_reader`, answering to `service.classifier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from service.api.bodies import whole_body
from service.api.page_headers import NOT_A_PAGE
from service.api.problems import winnow_problem
from service.api.product_reader import Posted, ProductReader
from service.classifier import Classification, Classifier
from service.errors import RequestRefused, WinnowError
from service.image_urls import ImageUrls
from service.scored import Scored, rounded
from service.served import Served

DETAILS = ("members", "classes", "embedding")
JSON_HEADER = (b"content-type", b"application/json")


class ClassifyApi:
    """The route as an ASGI application, for a framework's layers cost more than the graph does for one product.

    Keeps one reader, for the fields of the bundle that is served.
    """

    def __init__(self, classifier: Classifier, images: ImageUrls, *, max_products: int) -> None:
        self._classifier = classifier
        self._images = images
        self._max_products = max_products
        self._reader: tuple[Served, ProductReader] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or say with a problem document why not."""
        try:
            content = await self._answer(scope, receive)
        except WinnowError as error:
            await winnow_problem(error)(scope, receive, send)
            return
        headers = [JSON_HEADER, NOT_A_PAGE, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        """The answer in JSON, all of it by the bundle that is served when the body has arrived."""
        query = scope["query_string"]
        details = requested_details(QueryParams(query).multi_items()) if query else frozenset()
        check_media_type(scope["headers"])
        body = await whole_body(receive)  # within its limits, by `service.api.guards`
        served = self._classifier.served
        posted = self._reader_of(served).read(body)
        del body  # it may be large, and what was in it is now in the records
        classification, faults = await self._classified(served, posted)
        warnings = self._warnings(posted, faults, served) if faults else {}
        answer = {
            "model_version": served.manifest.version,
            "results": list(results(posted, classification, details, warnings)),
        }
        return to_json(answer)

    async def _classified(self, served: Served, posted: Posted) -> tuple[Classification, Mapping[int, str]]:
        """What is said of the products, and what is wrong with the images of some, by position."""
        if not posted.image_urls:
            classification = await self._classifier.classify(served, posted.records, posted.images)
            return classification, classification.unreadable
        async with self._images.filled(posted) as filled:
            classification = await self._classifier.classify(served, posted.records, filled.images)
        return classification, {**filled.missing, **classification.unreadable}

    def _warnings(self, posted: Posted, faults: Mapping[int, str], served: Served) -> dict[int, dict[str, Any]]:
        fields = served.manifest.fields
        by_url = self._images.column(fields)
        return {
            index: {"field": by_url if index in posted.image_urls else fields.image, "detail": detail}
            for index, detail in faults.items()
        }

    def _reader_of(self, served: Served) -> ProductReader:
        if self._reader is None or self._reader[0] is not served:
            fields = served.manifest.fields
            reader = ProductReader(fields, max_products=self._max_products, url_column=self._images.column(fields))
            self._reader = served, reader
        return self._reader[1]


def check_media_type(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Accept JSON as it is, not compressed.

    Raises
    ------
    RequestRefused
        415 for anything else.
    """
    media, encoding = b"", b"identity"
    for name, value in headers:
        if name == b"content-type":
            media = value
        elif name == b"content-encoding":
            encoding = value
    if media != b"application/json" and not _is_json(media.decode("latin-1")):
        raise RequestRefused(415, "unsupported media type", "send content-type: application/json, in UTF-8")
    if encoding.lower() != b"identity":
        raise RequestRefused(415, "unsupported media type", "send the body without content-encoding")


def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    return media_type.strip().lower() == "application/json" and charset in {"", "charset=utf-8"}


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
    posted: Posted,
    classification: Classification,
    details: frozenset[str],
    warnings: Mapping[int, dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """One result a product, in the order in which they came, with what is to be said of its image."""
    id_field = classification.served.manifest.fields.id
    start = 0
    for part in classification.parts:
        for index, said in enumerate(part.answers, start):
            answer = {"product_id": posted.records[index][id_field], **said}
            if index in warnings:
                answer["warnings"] = [warnings[index]]
            if details:
                answer |= _details(part, index - start, classification.served, details)
            yield answer
        start = index + 1


def _details(part: Scored, row: int, served: Served, details: frozenset[str]) -> dict[str, Any]:
    classes = served.manifest.taxonomy.classes
    predictions, scores = part.predictions, part.scores
    answer: dict[str, Any] = {}
    if "members" in details:
        present = predictions.present[row].tolist()
        by_member = rounded(predictions.member_probabilities[row]).tolist()
        answer["members"] = {
            member.name: dict(zip(classes, by_member[index], strict=True)) if present[index] else None
            for index, member in enumerate(served.manifest.members)
        }
    if "classes" in details:
        unsure, split = rounded(scores.uncertainty[row]).tolist(), rounded(scores.disagreement[row]).tolist()
        answer["classes"] = {
            name: {"uncertainty": unsure[index], "disagreement": split[index]} for index, name in enumerate(classes)
        }
    if "embedding" in details:
        answer["embedding"] = rounded(predictions.embedding[row]).tolist()
    return answer

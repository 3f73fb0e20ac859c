"""Reads the body of a classify request, strictly, into records that have exactly the served bundle's columns.

A feed may write an id or a text as a number, and a number as text, as it may in a catalogue; a record has one form.
Pydantic checks the bytes in one pass; what it finds is said in our words, by product and field and never with a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Required

import pybase64
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from service.contracts import FieldSpec
from service.errors import InvalidProduct, RequestRefused
from service.feed import id_text, plain_number
from service.image_fetch import MAX_URL_LENGTH

MAX_ID_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 20_000
MAX_CATEGORY_CHARACTERS = 1_000
MAX_CATEGORY_VALUES = 100
MAX_IMAGE_CHARACTERS = 4_000_000  # of base64, three quarters as many bytes
MAX_ERRORS = 20  # more are not listed
MAX_NAME_CHARACTERS = 100  # of an unknown field's name, which the client chose

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Posted:
    """The products of one request.

    Parameters
    ----------
    records : the products as they came
    images : files by the position of their product
    image_urls : where an image is to be fetched from, by the position of a product that nothing else gives one
    """

    records: Sequence[dict[str, Any]]
    images: Mapping[int, bytes]
    image_urls: Mapping[int, str]


class ProductReader:
    """Reads the products of one bundle's fields.

    Parameters
    ----------
    max_products : in one request
    url_column : the field that may give the image by URL, beside the catalogue's own
    """

    def __init__(self, fields: FieldSpec, *, max_products: int, url_column: str | None = None) -> None:
        self._fields = fields
        self._url_column = url_column
        self._max_products = max_products
        self._expectations = expectations(fields, url_column)
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(_body_type(fields, max_products, url_column))
        self._validate = adapter.validator.validate_json  # the adapter's own method does nothing more, and costs more

    def read(self, body: bytes) -> Posted:
        """Check a body `{"products": [{…}, …]}` and take its images out of base64.

        Raises
        ------
        RequestRefused
            400 if it is no JSON; 422 if anything in it is not what the fields allow, naming product and field.
        """
        try:
            records: list[dict[str, Any]] = self._validate(body)["products"]
        except ValidationError as error:
            raise self._refusal(error) from None  # its text quotes values
        if b"\\" in body and b"\\u0000" in body:  # one character is looked for twenty times as fast
            _refuse(_with_nul(records))
        images = self._images(records) if self._fields.image else {}
        return Posted(records, images, self._image_urls(records, images) if self._url_column else {})

    def _images(self, records: Sequence[dict[str, Any]]) -> dict[int, bytes]:
        column = self._fields.image
        images: dict[int, bytes] = {}
        errors: list[InvalidProduct] = []
        for index, record in enumerate(records):
            if record.get(str(column)) is None:
                continue
            try:
                images[index] = decode_base64(record[str(column)])
            except ValueError:
                detail = "must be an image file in base64, without line breaks or a data: prefix"
                errors.append(InvalidProduct(detail, product_index=index, field=column))
        _refuse(errors)
        return images

    def _image_urls(self, records: Sequence[dict[str, Any]], images: Mapping[int, bytes]) -> dict[int, str]:
        urls = ((index, record.get(str(self._url_column))) for index, record in enumerate(records))
        return {index: url for index, url in urls if url is not None and index not in images}

    def _refusal(self, error: ValidationError) -> RequestRefused:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            reason = found[0]["ctx"]["error"]
            return RequestRefused(400, "invalid JSON", f"the body is no JSON in UTF-8: {reason}")
        products = [detail for detail in found if detail["loc"][:1] == ("products",) and len(detail["loc"]) > 1]
        if products:
            return _refusal(self._explained(products))
        wanted = f'send {{"products": [{{…}}, …]}} with 1 to {self._max_products} products'
        return RequestRefused(422, "invalid request", f"{_outer_fault(found[0])}; {wanted}")

    def _explained(self, details: Sequence[ErrorDetails]) -> Iterator[InvalidProduct]:
        seen = set()
        for detail in details:
            _, index, *path = detail["loc"]
            field = str(path[0]) if path else None
            if (index, field) in seen:  # a field that may be of two types is at fault once for each
                continue
            seen.add((index, field))
            yield InvalidProduct(self._explanation(detail, field), product_index=int(index), field=_shortened(field))

    def _explanation(self, detail: ErrorDetails, field: str | None) -> str:
        if field is None:
            return "must be an object with the catalogue's columns"
        if detail["type"] == "missing":
            return f"is missing; it {self._expectations[field]}"
        if detail["type"] == "extra_forbidden":
            return f"is no field of this catalogue; there are {', '.join(self._expectations)}"
        return self._expectations[field]


def expectations(fields: FieldSpec, url_column: str | None = None) -> dict[str, str]:
    """What each field must be, in words, for error messages and the documentation."""
    words = {fields.id: f"must be a string of 1 to {MAX_ID_CHARACTERS} characters, or a whole number"}
    for column in fields.text:
        words[column] = f"must be a string of at most {MAX_TEXT_CHARACTERS} characters, a number, a boolean, or null"
    for field in fields.categorical:
        split = f', with "{field.separator}" between values' if field.separator else ""
        words[field.column] = (
            f"must be a string of at most {MAX_CATEGORY_CHARACTERS} characters{split}, "
            f"a number, a boolean, a list of at most {MAX_CATEGORY_VALUES} such values, or null"
        )
    for column in fields.numerical:
        words[column] = 'must be a finite number, a string such as "1299.90", a boolean, or null'
    if fields.image:
        words[fields.image] = (
            f"must be a string of at most {MAX_IMAGE_CHARACTERS} characters: "
            "a JPEG, PNG or WebP file in base64, or null"
        )
    if url_column:
        words[url_column] = (
            f"must be a string of at most {MAX_URL_LENGTH} characters: "
            "an https URL of a JPEG, PNG or WebP file, or null"
        )
    return words


def decode_base64(text: str) -> bytes:
    """Decode standard base64.

    Raises
    ------
    ValueError
        If there is any other character, padding is wrong, or nothing is in it.
    """
    content = pybase64.b64decode(text, validate=True)
    if not content:
        raise ValueError("empty")
    return content


def _body_type(fields: FieldSpec, max_products: int, url_column: str | None) -> Any:
    category: Any = _text(MAX_CATEGORY_CHARACTERS)
    some = Field(max_length=MAX_CATEGORY_VALUES, fail_fast=True)  # one fault a list is said, whatever is in it
    several: Any = Annotated[list[category], some]
    with_gaps: Any = Annotated[list[category | None], some, AfterValidator(_filled)]
    columns: dict[str, Any] = {fields.id: Required[_text(MAX_ID_CHARACTERS, at_least=1, written=id_text)]}
    columns |= dict.fromkeys(fields.text, _text(MAX_TEXT_CHARACTERS) | None)
    columns |= {field.column: category | several | with_gaps | None for field in fields.categorical}
    number = _first_of(float, Annotated[str | bool, AfterValidator(_number)])
    columns |= dict.fromkeys(fields.numerical, number | None)
    if fields.image:
        image: Any = Annotated[str, Field(min_length=1, max_length=MAX_IMAGE_CHARACTERS)]
        columns[fields.image] = _first_of(image, Annotated[Literal[""], AfterValidator(_none)]) | None
    if url_column:
        columns[url_column] = Annotated[str, Field(max_length=MAX_URL_LENGTH)] | None
    product: Any = _typed("Product", columns)
    products: Any = Annotated[list[product], Field(min_length=1, max_length=max_products)]
    return _typed("Body", {"products": Required[products]})


def _text(at_most: int, *, at_least: int = 0, written: Callable[[Any], str] = str) -> Any:
    """Text, or what is `written` out as text; Python is called for the latter alone, so that text costs nothing."""
    length: Any = Field(min_length=at_least, max_length=at_most)
    return _first_of(Annotated[str, length], Annotated[int | float | bool, AfterValidator(written), length])


def _first_of(usual: Any, other: Any) -> Any:
    return Annotated[usual | other, Field(union_mode="left_to_right")]


def _number(written: str | bool) -> float | None:
    """A number that is written as text, or as true or false; an empty text is none.

    Raises
    ------
    ValueError
        If it is no plain finite number.
    """
    if written == "":
        return None
    number = float(written) if isinstance(written, bool) else plain_number(written)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _filled(values: Sequence[str | None]) -> list[str]:
    return [value for value in values if value is not None]


def _none(_empty: str) -> None:
    return None


def _typed(name: str, columns: dict[str, Any]) -> Any:
    made = TypedDict(name, columns, total=False)  # type: ignore[misc]  # the columns are known at run time only
    made.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]  # where pydantic looks for it
    return made


def _outer_fault(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "too_long":
        return "there are too many products"
    if kind == "too_short":
        return "there are no products"
    if kind == "extra_forbidden":
        return f"{_shortened(str(detail['loc'][0]))} is no part of a request"
    return "products is missing or no list" if kind != "dict_type" else "the body is no object"


def _with_nul(records: Iterable[dict[str, Any]]) -> Iterator[InvalidProduct]:
    for index, record in enumerate(records):
        for field, value in record.items():
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and "\0" in text for text in texts):
                yield InvalidProduct("must not hold the NUL character", product_index=index, field=field)


def _shortened(name: str | None) -> str | None:
    return name if name is None or len(name) <= MAX_NAME_CHARACTERS else name[:MAX_NAME_CHARACTERS] + "…"


def _refuse(errors: Iterable[InvalidProduct]) -> None:
    found = list(errors)
    if found:
        raise _refusal(found)


def _refusal(errors: Iterable[InvalidProduct]) -> RequestRefused:
    found = list(errors)
    first = found[0]
    where = f"product {first.product_index}" + (f", field {first.field}" if first.field else "")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return RequestRefused(422, "invalid product", f"{where}: {first.detail}{more}", errors=found[:MAX_ERRORS])

"""Products whose image is given by URL: the image is put in its place, or the answer says why it is missing.

Whether a URL may be followed, and how, is left to `service.image_fetch`; a failure is never one of the whole request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.api.product_reader import Posted
from service.contracts import FieldSpec
from service.image_fetch import ImageFetcher, Outcome

SUFFIX = "_url"  # after the name of the image's column
WHY: Mapping[Outcome, str] = {
    "refused": "is not followed: only https URLs of the allowed hosts are, without redirects",
    "not_found": "leads to nothing",
    "too_large": "leads to an image that is too large",
    "timed_out": "did not answer in time",
    "failed": "could not be fetched",
    "no_room": "was not fetched: too many images are being fetched",
}


@dataclass(frozen=True, slots=True)
class Filled:
    """The images of one request's products, by position, with those that could be fetched.

    Parameters
    ----------
    missing : position of each product whose image could not be fetched, with the reason
    """

    images: Mapping[int, bytes]
    missing: Mapping[int, str]


class ImageUrls:
    """The images that a request gives by URL.

    Parameters
    ----------
    on_fetch : told the outcome of each fetch, for a metric
    """

    def __init__(self, fetcher: ImageFetcher, *, on_fetch: Callable[[Outcome], None]) -> None:
        self._fetcher = fetcher
        self._on_fetch = on_fetch

    def column(self, fields: FieldSpec) -> str | None:
        """Name of the field that may hold a URL; None if no host is allowed, or the catalogue has that name already."""
        name = f"{fields.image}{SUFFIX}"
        return name if self._fetcher.is_on and fields.image and name not in fields.columns else None

    @asynccontextmanager
    async def filled(self, posted: Posted) -> AsyncIterator[Filled]:
        """Fetch what is given by URL; the images are accounted for until the block ends."""
        images = dict(posted.images)
        missing: dict[int, str] = {}
        async with self._fetcher.fetched(list(posted.image_urls.values())) as fetches:
            for index, fetch in zip(posted.image_urls, fetches, strict=True):
                self._on_fetch(fetch.outcome)
                if fetch.content is not None:
                    images[index] = fetch.content
                else:
                    missing[index] = f"the URL {WHY[fetch.outcome]}"
            yield Filled(images, missing)

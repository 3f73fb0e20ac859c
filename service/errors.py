"""The errors Winnow raises on purpose, each with the HTTP status it becomes at the border.

Turning them into problem documents is left to `service.problems`.
"""

from __future__ import annotations


class WinnowError(Exception):
    """Base of all our errors; `status` is what an HTTP client sees, `title` the kind of problem in a few words."""

    status = 500
    title = "internal error"


class InvalidProduct(WinnowError):
    """A product, or one of its fields, is not what the served fields allow.

    Parameters
    ----------
    detail : what is wrong and what would be right, without the value itself
    product_index : position in the request, from 0
    field : the field's name, where one is to blame
    """

    status = 422
    title = "invalid product"

    def __init__(self, detail: str, *, product_index: int | None = None, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.product_index = product_index
        self.field = field


class UnreadableImage(WinnowError):
    """The bytes are no image we accept: not JPEG, PNG or WebP, truncated, or larger than the pixel cap."""

    status = 422
    title = "unreadable image"


class CatalogueError(WinnowError):
    """A catalogue cannot be read as its catalogue.toml says; the message names file, column, row and remedy."""

    status = 422
    title = "invalid catalogue"


class BundleRefused(WinnowError):
    """A bundle is damaged, incomplete, of another format, or does not reproduce its golden batch."""

    status = 503
    title = "bundle refused"


class NoBundle(WinnowError):
    """No bundle is promoted in the model store."""

    status = 503
    title = "no bundle"


class UnusablePrediction(WinnowError):
    """The graph failed, or gave numbers that are not finite or no probabilities."""

    title = "unusable prediction"


class SettingsError(WinnowError):
    """A WINNOW_* environment variable is unknown or has a value that cannot be used."""

    title = "invalid settings"


class QueueUnavailable(WinnowError):
    """The label queue's store did not answer."""

    status = 503
    title = "label queue unavailable"

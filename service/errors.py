"""The errors Winnow raises on purpose, each with the HTTP status it becomes at the border.

Turning them into problem documents is left to `service.api.problems`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class WinnowError(Exception):
    """Base of all our errors; `status` is what an HTTP client sees, `title` the kind of problem in a few words."""

    status = 500
    title = "internal error"

    def members(self) -> dict[str, Any]:
        """What its problem document says beyond title, status and detail."""
        return {}


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

    def members(self) -> dict[str, Any]:
        """Name the product and the field."""
        return {"errors": [{"product": self.product_index, "field": self.field, "detail": self.detail}]}


class RequestRefused(WinnowError):
    """A request as a whole cannot be answered, by its form or by what some of its products hold.

    Parameters
    ----------
    status, title : as an HTTP client sees them
    detail : what is wrong and what would be right, without any value of the request
    errors : the products and fields to blame, where there are some
    """

    def __init__(self, status: int, title: str, detail: str, *, errors: Sequence[InvalidProduct] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)

    def members(self) -> dict[str, Any]:
        """Name the products and fields to blame, where there are some."""
        faults = [fault for error in self.errors for fault in error.members()["errors"]]
        return {"errors": faults} if faults else {}


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


class StorageFull(QueueUnavailable):
    """The label queue's disk is full; nothing was stored."""

    status = 507
    title = "label queue storage full"


class SecondReplica(WinnowError):
    """Another replica of the service already owns this SQLite label queue."""

    title = "second replica on SQLite"


class AlreadyRunning(WinnowError):
    """Another process does what only one may do at a time."""

    status = 409
    title = "already running"


class LeaseLost(WinnowError):
    """The tasks are not held by this lease token: it expired and somebody else took them, or it was never granted.

    Parameters
    ----------
    task_ids : the tasks to leave out when the rest is sent again
    """

    status = 409
    title = "lease lost"

    def __init__(self, detail: str, *, task_ids: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.task_ids = task_ids

    def members(self) -> dict[str, Any]:
        """Name the tasks, so that a client can send the others again."""
        return {"task_ids": self.task_ids} if self.task_ids else {}


class UnknownTask(WinnowError):
    """The label queue has no task of this id."""

    status = 404
    title = "unknown label task"


class UnknownClass(WinnowError):
    """An answer names a class that neither the served taxonomy nor the task knows."""

    status = 422
    title = "unknown class"


class InvalidRequest(WinnowError):
    """A request to the label queue is not what its API allows.

    Parameters
    ----------
    detail : what is wrong and what would be right, without the value itself
    field : path of the field that is to blame, as in "labels[3].answers"
    """

    status = 422
    title = "invalid request"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field

    def members(self) -> dict[str, Any]:
        """Name the field."""
        return {"errors": [{"field": self.field, "detail": self.detail}]} if self.field else {}


class KeyReused(WinnowError):
    """An idempotency key came again with another body."""

    status = 422
    title = "idempotency key reused"


class TurnedAway(WinnowError):
    """A request is turned away before its work begins; `headers` go into the answer beside the problem.

    Parameters
    ----------
    detail : what is wrong and what would be right, without any value from the request
    """

    status = 400
    title = "request refused"
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthenticated(TurnedAway):
    """No API key came with the request, or one that is not live."""

    status = 401
    title = "API key needed"
    headers = (("www-authenticate", 'Bearer, Basic realm="winnow", charset="UTF-8"'),)


class Forbidden(TurnedAway):
    """The caller is known, or none is needed, but this request is not theirs to make."""

    status = 403
    title = "forbidden"


class BodyTimedOut(TurnedAway):
    """The body did not arrive in time."""

    status = 408
    title = "request body timed out"
    headers = (("connection", "close"),)


class BodyTooLarge(TurnedAway):
    """The body is larger than the cap."""

    status = 413
    title = "request body too large"
    headers = (("connection", "close"),)


class TooManyRequests(TurnedAway):
    """As many requests are waiting as may wait."""

    status = 429
    title = "too many requests"
    headers = (("retry-after", "1"),)


class Overloaded(TurnedAway):
    """The request waited for a slot, or for the work before it, as long as it may."""

    status = 503
    title = "overloaded"
    headers: tuple[tuple[str, str], ...] = (("retry-after", "1"),)


class NoRoom(Overloaded):
    """All bodies held at this moment leave no memory for another."""

    headers = (("retry-after", "1"), ("connection", "close"))

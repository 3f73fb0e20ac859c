"""What commands work with, found through the environment: settings, model store, label queue, image encoder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from service.bundles.bundle import Bundle, read_bundle
from service.bundles.bundle_store import BundleStore
from service.label_queue.store import LabelQueue, open_store
from service.settings import Settings
from training.catalogues.catalogue import Catalogue
from training.console import messages

if TYPE_CHECKING:
    from training.pretrained import ImageEncoder

CACHE = Path("~/.cache/winnow")  # of image features; what is in it can be computed again


def settings() -> Settings:
    """The settings of the service, which offline commands share."""
    return Settings.from_env(os.environ)


def model_store() -> BundleStore:
    """The model store that the service serves from."""
    found = settings()
    return BundleStore(found.home, found.model)


@contextmanager
def label_queue() -> Iterator[LabelQueue]:
    """The label queue that the service writes to."""
    found = settings()
    queue = open_store(found.database_url.get_secret_value(), lease_seconds=found.lease_seconds)
    try:
        yield queue
    finally:
        queue.close()


def read_stored(version: str) -> Bundle:
    """A bundle of the model store, checked and read."""
    return read_bundle(model_store().load(version))


def image_encoder(catalogue: Catalogue) -> ImageEncoder | None:
    """The pretrained image encoder, where the catalogue has images; what it would bring is said where it is not."""
    from training.pretrained import find_encoder  # noqa: PLC0415  loads torch

    if catalogue.fields.image is None:
        return None
    found = find_encoder(CACHE.expanduser())
    if found is None:
        messages.print("Images are seen by a small network trained here; winnow[images] brings a pretrained one.")
    return found


def inherited_environment() -> Mapping[str, str]:
    """What a process that a command starts is given."""
    return os.environ


def n_cores() -> int:
    """Processes that a command starts unless told otherwise."""
    return os.cpu_count() or 1

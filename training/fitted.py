"""What a training leaves behind, and how it becomes a bundle directory: files, manifest, training state.

Fitting is left to `training.fit` and `training.retraining.warm_start`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from service.bundles.bundle import Manifest, write_bundle
from service.contracts import Product
from training.calibrate import Calibration
from training.catalogues.catalogue import Catalogue, Labels
from training.committee import Committee, Prepared
from training.export import EnsembleModule
from training.held_out import HeldOut
from training.manifest import bundle_files, example, held_out_metrics, member_cards, new_version, provenance
from training.platt import sigmoid
from training.reference import learn_reference
from training.retraining.training_state import STATE, pack_state
from training.thresholds import fit_thresholds


class Clock:
    """CPU seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what the block takes to a stage."""
        start = time.process_time()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.process_time() - start, 2)


@dataclass(frozen=True)
class Fitted:
    """Everything a bundle is made of; arrays are per product, in one order.

    Parameters
    ----------
    products : as the catalogue has them
    standing : weights under which the targets look like traffic, (n_products, n_classes)
    data : products as the members read them: all of them, or those that a warm start looks at
    image_encoder : the pretrained one, where the network reads its features
    """

    products: tuple[Product, ...]
    targets: Labels
    standing: NDArray[np.float32]
    data: Prepared
    held: HeldOut
    committee: Committee
    calibration: Calibration
    image_encoder: nn.Module | None = None

    @property
    def has_image(self) -> NDArray[np.bool_]:
        """Whether a product has an image that can be decoded, as far as any member reads images, (n_products,)."""
        for column, member in enumerate(self.committee.members):
            if self.data.reads(member) == ("image",):
                return self.held.present[:, column]
        return np.array([product.image is not None for product in self.products], dtype=np.bool_)


def write_fitted(
    directory: Path,
    catalogue: Catalogue,
    fitted: Fitted,
    *,
    options: Mapping[str, Any],
    clock: Clock,
    remarks: Mapping[str, Any],
) -> Manifest:
    """Write the bundle; the directory appears last and whole, so an interrupt leaves none.

    Parameters
    ----------
    options : of the training, for the provenance
    remarks : what the provenance shall say beside what is known here
    """
    with clock.stage("export"):
        files = _files(fitted)
    about = _about(catalogue, fitted, options=options, clock=clock, remarks=remarks)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".draft-") as draft:
        manifest = write_bundle(Path(draft) / "bundle", about, files=files)
        (Path(draft) / "bundle").rename(directory)
    return manifest


def _files(fitted: Fitted) -> dict[str, bytes]:
    committee, data = fitted.committee, fitted.data
    cards = member_cards(data, committee, fitted.calibration)
    module = EnsembleModule(
        committee.quick.modules(data.encoding), committee.network, cards, fitted.calibration, fitted.image_encoder
    )
    ids = [product.product_id for product in fitted.products]
    state = pack_state(committee, fitted.calibration, fitted.held, ids=ids)
    return {**bundle_files(module, data.encoding, fitted.products), STATE: state}


def _uncalibrated(held: HeldOut) -> NDArray[np.float64]:
    """Mean probability of the members as they come, over those that do not abstain; a half where all do."""
    present = held.present[:, :, None]
    total = np.maximum(present.sum(axis=1), 1)
    mean = (sigmoid(held.logits) * present).sum(axis=1) / total
    return np.where(present.any(axis=1), mean, 0.5)


def _about(
    catalogue: Catalogue, fitted: Fitted, *, options: Mapping[str, Any], clock: Clock, remarks: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest but for its files."""
    held, calibration, committee, targets = fitted.held, fitted.calibration, fitted.committee, fitted.targets
    answers = calibration(held.logits, held.present)
    classes = catalogue.taxonomy.classes
    thresholds = fit_thresholds(
        answers, targets, fitted.standing, classes=classes, settings=catalogue.thresholds, trained=calibration.trainable
    )
    by_member = dict(zip(committee.members, calibration.members(held.logits).transpose(1, 0, 2), strict=True))
    now = datetime.now(UTC)
    return {
        "version": new_version(catalogue.name, now),
        "created_at": now,
        "catalogue": catalogue.name,
        "fields": catalogue.fields,
        "taxonomy": catalogue.taxonomy,
        "thresholds": thresholds,
        "priors": calibration.priors.tolist(),
        "trainable": calibration.trainable.tolist(),
        "members": member_cards(fitted.data, committee, calibration),
        "metrics": held_out_metrics(answers, _uncalibrated(held), by_member, targets, thresholds),
        "reference": learn_reference(catalogue, fitted.products, fitted.has_image, answers),
        "provenance": {
            **provenance(targets, committee, options=options, cpu_seconds=clock.seconds),
            **remarks,
        },
        "example": example(catalogue),
    }

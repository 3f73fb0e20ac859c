"""Trainings of the committee study, each kept with what it said of the test part: a study can be cut into turns.

Tables are left to `benchmarks.committee`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.contracts import Product
from training.catalogues.catalogue import Catalogue, Labels, Part
from training.catalogues.catalogue_file import PartName
from training.fit import TrainingOptions, arranged, fit_ensemble
from training.fitted import Clock, Fitted
from training.joint import JointOptions
from training.pretrained import ImageEncoder, find_encoder

CACHE = Path("~/.cache/winnow")
N_MISSING = 2_000  # test products that are asked again without a part

# What each ablation changes in the shipped training.
VARIANTS: dict[str, TrainingOptions] = {
    "shipped": TrainingOptions(),
    "labels taken as they are": TrainingOptions(doubt_merchants=False),
    "no modality dropout": TrainingOptions(joint=JointOptions(modality_dropout=0.0)),
    "no auxiliary losses": TrainingOptions(joint=JointOptions(auxiliary_weight=0.0)),
    "no class weights": TrainingOptions(joint=JointOptions(loss="plain")),
    "asymmetric loss": TrainingOptions(joint=JointOptions(loss="asymmetric")),
}


@dataclass(frozen=True)
class Setting:
    """One training of the study.

    Parameters
    ----------
    pretrained : whether images are seen by the pretrained encoder
    n_products : of the train part, drawn once for all; 0 for all of them
    """

    labels: Literal["merchant", "truth"]
    pretrained: bool
    variant: str
    n_products: int
    seed: int

    @property
    def name(self) -> str:
        """The file that keeps it."""
        parts = (self.labels, "images" if self.pretrained else "own", self.variant.replace(" ", "-"))
        return "_".join((*parts, str(self.n_products or "all"), str(self.seed)))


@dataclass(frozen=True)
class Run:
    """What a training said of the test part.

    Parameters
    ----------
    probabilities : (n_products, n_classes)
    members : (n_products, n_members, n_classes)
    truth : (n_products, n_classes)
    missing : by part that was taken away, ensemble and members on the first test products
    """

    setting: Setting
    names: tuple[str, ...]
    classes: tuple[str, ...]
    cpu_seconds: dict[str, float]
    probabilities: NDArray[np.float32]
    members: NDArray[np.float32]
    truth: Labels
    missing: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Sampled(Catalogue):
    """A catalogue of which the train part is a sample."""

    n_products: int = 0

    def read(self, part: PartName) -> Part:
        """Read a part; of the train part the sample."""
        whole = super().read(part)
        if part != "train" or not self.n_products:
            return whole
        rows = np.sort(np.random.default_rng(0).permutation(len(whole.products))[: self.n_products])
        return replace(
            whole,
            products=[whole.products[row] for row in rows.tolist()],
            merchant_labels=None if whole.merchant_labels is None else whole.merchant_labels[rows],
            truth=None if whole.truth is None else whole.truth[rows],
        )


def sampled(catalogue: Catalogue, labels: str, n_products: int) -> Sampled:
    """The catalogue with a sample of its train part, or with all of it for 0; with its truth where that teaches."""
    taught = catalogue.with_truth("train") if labels == "truth" else catalogue
    return Sampled(**{**_fields(taught), "n_products": n_products})


def run(catalogue: Catalogue, setting: Setting, *, keep: Path) -> None:
    """Train, classify the test part, and keep what came out."""
    options = replace(VARIANTS[setting.variant], labels=setting.labels, seed=setting.seed)
    images = find_encoder(CACHE.expanduser()) if setting.pretrained else None
    clock = Clock()
    some = sampled(catalogue, setting.labels, setting.n_products)
    fitted = fit_ensemble(some, options=options, clock=clock, images=images, progress=_quiet)
    part = catalogue.read("test")
    said = _said(catalogue, fitted, part.products, images)
    arrays: dict[str, Any] = {"probabilities": said[0], "members": said[1], "truth": part.truth}
    if setting.variant == "shipped" and setting.seed == 0:
        for name, take in without_parts(catalogue).items():
            fewer = _said(catalogue, fitted, [take(product) for product in part.products[:N_MISSING]], images)
            arrays |= {f"missing/{name}/all": fewer[0], f"missing/{name}/members": fewer[1]}
    about = {
        "setting": asdict(setting),
        "names": list(fitted.committee.members),
        "classes": list(catalogue.taxonomy.classes),
        "cpu_seconds": {**clock.seconds, "training": round(sum(clock.seconds.values()), 1)},
    }
    keep.mkdir(parents=True, exist_ok=True)
    np.savez(keep / f".{setting.name}.npz", allow_pickle=False, about=json.dumps(about), **arrays)
    (keep / f".{setting.name}.npz").rename(keep / f"{setting.name}.npz")


def read_runs(keep: Path) -> list[Run]:
    """All runs that are kept."""
    return [_read(path) for path in sorted(keep.glob("[!.]*.npz"))]


def without_parts(catalogue: Catalogue) -> dict[str, Callable[[Product], Product]]:
    """For each field but the id: the product as if it had come without."""
    fields = catalogue.fields
    parts: dict[str, Callable[[Product], Product]] = {"nothing": lambda product: product}
    if fields.image:
        parts["the image"] = lambda product: replace(product, image=None)
    for index, column in enumerate(fields.text):
        parts[column] = partial(_without_text, index=index)
    if fields.categorical:
        parts["all categories"] = lambda product: replace(product, categories=((),) * len(fields.categorical))
    if fields.numerical:
        parts["all numbers"] = lambda product: replace(product, numbers=(math.nan,) * len(fields.numerical))
    if len(fields.text) > 1:
        parts["all texts"] = lambda product: replace(product, texts=("",) * len(fields.text))
    return parts


def _without_text(product: Product, *, index: int) -> Product:
    return replace(product, texts=(*product.texts[:index], "", *product.texts[index + 1 :]))


def _said(
    catalogue: Catalogue, fitted: Fitted, products: Sequence[Product], images: ImageEncoder | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities of the ensemble and of its members, not a number where a member abstains.

    From the fitted members, which the graph agrees with, as the features of images are then read and not computed.
    """
    seen = images if fitted.data.image_features is not None else None
    data = arranged(catalogue, products, fitted.data.encoding, images=seen, report=lambda _done, _total: None)
    logits, present = fitted.committee.logits(data), data.present(fitted.committee.members)
    members = np.where(present[:, :, None], fitted.calibration.members(logits), np.nan)
    return fitted.calibration(logits, present, ~data.have).astype(np.float32), members.astype(np.float32)


def _fields(catalogue: Catalogue) -> dict[str, Any]:
    return {name: getattr(catalogue, name) for name in Catalogue.__dataclass_fields__}


def _read(path: Path) -> Run:
    with np.load(path, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        parts = [name.split("/")[1] for name in arrays.files if name.startswith("missing/") and name.endswith("/all")]
        return Run(
            setting=Setting(**about["setting"]),
            names=tuple(about["names"]),
            classes=tuple(about["classes"]),
            cpu_seconds=about["cpu_seconds"],
            probabilities=arrays["probabilities"],
            members=arrays["members"],
            truth=arrays["truth"],
            missing={part: (arrays[f"missing/{part}/all"], arrays[f"missing/{part}/members"]) for part in parts},
        )


def _quiet(_stage: str, _done: int, _total: int) -> None:
    return

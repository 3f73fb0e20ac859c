"""What a fresh bundle says of itself and carries: member cards, files, scores on held-out folds, provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version as library_version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import ENCODING, GOLDEN, GRAPH, MemberCard, pack_golden
from service.contracts import MODALITIES, Product
from service.features.encoder import EncodedProduct, Encoder, Encoding, collate
from training.calibrate import Calibration
from training.catalogues.catalogue import Catalogue, Labels
from training.committee import KINDS, Committee, Prepared
from training.encode import encode_products
from training.evaluate import binned, score
from training.export import EnsembleModule, export_graph, run_module

N_GOLDEN = 24
N_EXAMPLES = 50  # products among which the example is chosen
LIBRARIES = ("torch", "lightgbm", "numpy", "scipy", "scikit-learn", "onnx", "pillow", "simplejpeg")


def member_cards(data: Prepared, committee: Committee, calibration: Calibration) -> tuple[MemberCard, ...]:
    """What each member is, reads and weighs."""
    return tuple(
        MemberCard(
            name=name,
            kind=KINDS[name],
            modalities=data.reads(name),
            weights=tuple(calibration.stacking[index].tolist()),
        )
        for index, name in enumerate(committee.members)
    )


def bundle_files(module: EnsembleModule, encoding: Encoding, products: Sequence[Product]) -> dict[str, bytes]:
    """Graph, encoding and golden batch, which is made of some of these products."""
    golden = golden_products(products, encoding)
    return {
        GRAPH: export_graph(module, golden),
        ENCODING: encoding.model_dump_json().encode(),
        GOLDEN: pack_golden(collate(golden), run_module(module, golden)),
    }


def golden_products(products: Sequence[Product], encoding: Encoding) -> list[EncodedProduct]:
    """Some products as they are, one without each modality, and one with nothing at all."""
    step = max(1, len(products) // N_GOLDEN)
    chosen = encode_products(products[::step][:N_GOLDEN], Encoder(encoding))
    gaps = [chosen[0].without(modality) for modality in MODALITIES]
    return [*chosen, *gaps, chosen[0].without(*MODALITIES)]


def held_out_metrics(
    answers: NDArray[np.float64],
    uncalibrated: NDArray[np.floating],
    by_member: Mapping[str, NDArray[np.float64]],
    targets: Labels,
    thresholds: Sequence[float],
) -> dict[str, Any]:
    """Scores on held-out folds of the train part, against the labels trained on.

    Parameters
    ----------
    answers, uncalibrated, targets : (n_products, n_classes), and so is each member's array
    """
    halves = [0.5] * targets.shape[1]
    known = targets >= 0
    return {
        "against": "held-out training labels",
        "reliability": {
            "before": binned(uncalibrated[known], targets[known] == 1),
            "after": binned(answers[known], targets[known] == 1),
        },
        "ensemble": score(answers, targets, thresholds).summary(),
        "members": {name: score(values, targets, halves).summary() for name, values in by_member.items()},
    }


def provenance(
    targets: Labels, committee: Committee, *, options: Mapping[str, Any], cpu_seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Where the bundle comes from: options, counts, training curves per member, CPU seconds per stage, libraries."""
    curves = {name: [round(epoch[name], 5) for epoch in committee.curves] for name in committee.curves[0]}
    return {
        "labels": options["labels"],
        "seed": options["seed"],
        "options": dict(options),
        "n_products": len(targets),
        "n_known_labels": int((targets >= 0).sum()),
        "n_positives": (targets == 1).sum(axis=0).tolist(),
        "n_negatives": (targets == 0).sum(axis=0).tolist(),
        "cpu_seconds": dict(cpu_seconds),
        "curves": curves,
        "libraries": {name: library_version(name) for name in LIBRARIES},
    }


def example(catalogue: Catalogue) -> dict[str, Any]:
    """The first product of the train part with the fewest gaps among its first ones, without its image."""
    records = [record for record, _ in zip(catalogue.records("train"), range(N_EXAMPLES), strict=False)]
    fullest = max(records, key=lambda record: sum(cell not in (None, "") for cell in record.values()))
    return {name: cell for name, cell in fullest.items() if name != catalogue.fields.image and cell is not None}


def new_version(name: str, now: datetime) -> str:
    """A name that tells the catalogue and the time, to the thousandth: small trainings end in the same second."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "catalogue"
    return f"{slug}-{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"

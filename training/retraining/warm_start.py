"""A training that begins where the incumbent's ended: the new answers and some replayed products, in a few epochs.

What calibration is fitted on is left to `training.retraining.warm_held_out`. The vocabulary stays as it is: a word that
nobody knew at the last cold start is read by its parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.bundles.bundle import Bundle, Manifest
from training.calibrate import Calibration, fit_calibration
from training.catalogues.catalogue import Catalogue
from training.committee import Committee, QuickMembers
from training.fit import TrainingOptions, arranged, encoder_of, lessons_of
from training.fitted import Clock, Fitted, write_fitted
from training.held_out import HeldOut
from training.noise import label_trust
from training.pretrained import ImageEncoder
from training.progress import Progress
from training.retraining.human_labels import HumanLabels
from training.retraining.lessons import Lessons
from training.retraining.training_state import TrainingState, product_key
from training.retraining.warm_held_out import cross_fitted, held_before, plain_weights
from training.retraining.warm_members import Further, same_images, trees_anew
from training.retraining.warm_plan import WarmOptions, WarmPlan, make_plan
from training.weights import mask

WARM = "warm_start"  # of the provenance


def train_warm(
    catalogue: Catalogue,
    *,
    directory: Path,
    incumbent: Bundle,
    state: TrainingState,
    options: TrainingOptions,
    warm: WarmOptions,
    progress: Progress,
    people: HumanLabels,
    images: ImageEncoder | None = None,
    remarks: Mapping[str, Any],
) -> Manifest:
    """Train on from the incumbent, and write a bundle; the directory appears last and whole.

    Parameters
    ----------
    incumbent, state : a bundle of this catalogue, and where its training ended
    images : the pretrained encoder, where the incumbent's members read its features

    Raises
    ------
    CannotGoOn
        If it was trained by another version, whose network has another shape.
    """
    torch.set_num_threads(options.n_threads)
    clock = Clock()
    images = same_images(incumbent, state, images)
    lessons = lessons_of(catalogue, people, options)
    known = np.array([state.row_of.get(product_key(product.product_id), -1) for product in lessons.products])
    with clock.stage("encode"):
        plan = make_plan(lessons, is_new=known < 0, warm=warm, seed=options.seed)
        some = [lessons.products[row] for row in plan.shown.tolist()]
        report = partial(progress, "encode products")
        data = arranged(catalogue, some, incumbent.encoding, images=images, report=report)
    training = _Training(Further(data, state, options, warm), incumbent, lessons, plan, clock, progress)
    fitted = training.fit(known, encoder=encoder_of(data, images))
    notes = {WARM: {"from": incumbent.manifest.version, **asdict(warm)}, **remarks}
    manifest = write_fitted(directory, catalogue, fitted, options=asdict(options), clock=clock, remarks=notes)
    progress("export", 1, 1)
    return manifest


@dataclass(frozen=True)
class _Training:
    """What a warm training works with, once its products are encoded."""

    further: Further
    incumbent: Bundle
    lessons: Lessons
    plan: WarmPlan
    clock: Clock
    progress: Progress

    def fit(self, known: NDArray[np.int64], *, encoder: nn.Module | None) -> Fitted:
        """Fit everything that a bundle is made of.

        Parameters
        ----------
        known : (n_products,), rows of the state, -1 for a product that it does not know
        encoder : the pretrained network, for the graph
        """
        lessons, data = self.lessons, self.further.data
        standing = lessons.calibration_weights(mask(lessons.targets))
        held = self._held_out(known)
        with self.clock.stage("calibrate"):
            calibration = self._calibration(held, standing)
            trust = label_trust(lessons.targets, calibration(held.logits, held.present))
        committee = self._committee(lessons.loss_weights(trust))
        return Fitted(lessons.products, lessons.targets, standing, data, held, committee, calibration, encoder)

    def _held_out(self, known: NDArray[np.int64]) -> HeldOut:
        lessons, state = self.lessons, self.further.state
        with self.clock.stage("ask the incumbent"):
            held = held_before(self.incumbent, state, lessons.products, known, progress=self.progress)
        with self.clock.stage("cross-fit members"):
            weights = plain_weights(lessons, held, state)
            report = partial(self.progress, "cross-fit members")
            return cross_fitted(self.further, held, self.plan, lessons.targets, weights, report=report)

    def _calibration(self, held: HeldOut, standing: NDArray[np.float32]) -> Calibration:
        lessons = self.lessons
        fitted = fit_calibration(held.logits, held.present, lessons.targets, standing, people=lessons.human > 0)
        return replace(fitted, gaps=self.further.state.gaps)

    def _committee(self, weights: NDArray[np.float32]) -> Committee:
        targets, shown = self.lessons.targets, self.plan.shown
        with self.clock.stage("train on from the incumbent"):
            report = partial(self.progress, "train on from the incumbent")
            linear, network, curves = self.further.fit(
                np.arange(len(shown)), targets[shown], weights[shown], report=report
            )
        with self.clock.stage("grow trees"):
            trees = trees_anew(
                self.lessons.products, self.incumbent, self.further.data, targets, weights, options=self.further.options
            )
        return Committee(QuickMembers(linear, trees), network, curves)

"""What members say of products that they have not seen, when a training goes on from the incumbent.

For the products that the incumbent knew it is kept from its training. For those that are new it is first the
incumbent's word, and then what two small trainings say, each without one half of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Bundle
from service.contracts import Product
from training.catalogues.catalogue import Labels
from training.committee import QuickMembers
from training.held_out import HeldOut, Report
from training.joint_training import predict_joint
from training.noise import label_trust
from training.platt import logit
from training.predict import predict
from training.progress import Progress
from training.retraining.lessons import Lessons
from training.retraining.training_state import TrainingState
from training.retraining.warm_members import Further
from training.retraining.warm_plan import N_FOLDS, WarmPlan, some_of

N_FOLD_SHARE = 10  # of the replayed products, one in so many is shown to a training that only cross-fits
LEAST_SLOPE = 1e-3  # a member whose line is flatter says nothing, and its logits cannot be read back
MAX_LOGIT = 15.0


def held_before(
    incumbent: Bundle,
    state: TrainingState,
    products: Sequence[Product],
    known: NDArray[np.int64],
    *,
    progress: Progress,
) -> HeldOut:
    """What members said of each product before they had seen it: from the state, and for new ones the incumbent's word.

    Parameters
    ----------
    known : (n_products,), rows of the state, -1 for a product that it does not know
    """
    logits = state.held.logits[np.maximum(known, 0)]
    present = state.held.present[np.maximum(known, 0)]
    unknown = np.flatnonzero(known < 0)
    if len(unknown):
        said = predict(incumbent, [products[row] for row in unknown.tolist()], progress=progress)
        logits[unknown] = _raw_logits(said.member_probabilities, state)
        present[unknown] = said.present
    return HeldOut(logits, present)


def cross_fitted(
    further: Further,
    held: HeldOut,
    plan: WarmPlan,
    targets: Labels,
    weights: NDArray[np.float32],
    *,
    report: Report,
) -> HeldOut:
    """What members say of the new products after they have learned from the other half of them.

    The trees keep what the incumbent's said: they are grown once, on everything.
    """
    logits, members = held.logits.copy(), further.state.members
    replayed = np.flatnonzero(plan.fold < 0)
    rng = np.random.default_rng(further.options.seed)
    for fold in range(N_FOLDS):
        unseen = np.flatnonzero(plan.fold == fold)
        others = np.flatnonzero((plan.fold >= 0) & (plan.fold != fold))
        seen = np.sort(np.concatenate([others, some_of(replayed, len(replayed) // N_FOLD_SHARE, rng)]))
        if not len(unseen) or not len(others):
            continue
        rows = plan.shown[seen]
        linear, network, _ = further.fit(seen, targets[rows], weights[rows], report=_part(report, fold))
        data = further.data.take(unseen)
        said = QuickMembers(linear, None).logits(data) | predict_joint(network, data.products, data.image_features)
        for name, values in said.items():
            logits[plan.shown[unseen], members.index(name)] = values
    return HeldOut(logits, held.present)


def plain_weights(lessons: Lessons, held: HeldOut, state: TrainingState) -> NDArray[np.float32]:
    """Weights by what the members' plain mean believes: good enough for trainings that only cross-fit."""
    votes = held.present[:, :, None].astype(np.float64)
    believed = (state.platt(held.logits) * votes).sum(axis=1) / np.maximum(votes.sum(axis=1), 1.0)
    return lessons.loss_weights(label_trust(lessons.targets, believed))


def _raw_logits(probabilities: NDArray[np.float32], state: TrainingState) -> NDArray[np.float32]:
    """The members' logits before the line that made them probabilities."""
    slope, shift = state.platt.slope, state.platt.shift
    steep = slope > LEAST_SLOPE
    lines = (logit(probabilities) - shift) / np.where(steep, slope, 1.0)
    return np.clip(np.where(steep, lines, 0.0), -MAX_LOGIT, MAX_LOGIT).astype(np.float32)


def _part(report: Report, fold: int) -> Report:
    return lambda done, total: report(fold * total + done, N_FOLDS * total)

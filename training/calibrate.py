"""Calibration: everything between what members say and what the ensemble answers.

All of it is fitted on predictions for products that the models had not seen; which those are is left to `training.fit`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.catalogues.catalogue import Labels
from training.platt import EDGE, Floats, Platt, fit_platt
from training.stacking import fit_stacking, mostly_people, pooled
from training.weights import served_priors, trainable_classes


@dataclass(frozen=True)
class Calibration:
    """Everything between the members' logits and the served probabilities.

    Parameters
    ----------
    members : slope and shift, (n_members, n_classes)
    ensemble : slope and shift of the stacked log odds, (n_classes,)
    stacking : (n_members, n_classes)
    priors, trainable : (n_classes,)
    gaps : (n_modalities, n_members, n_classes), factor of a stacking weight where a modality is missing; None: 1
    """

    members: Platt
    ensemble: Platt
    stacking: NDArray[np.float64]
    priors: NDArray[np.float64]
    trainable: NDArray[np.bool_]
    gaps: NDArray[np.float64] | None = None

    def __call__(
        self, logits: NDArray[np.floating], present: NDArray[np.bool_], missing: NDArray[np.bool_] | None = None
    ) -> Floats:
        """What the ensemble answers, (n_products, n_classes), to what its members say.

        Parameters
        ----------
        logits : (n_products, n_members, n_classes)
        present : (n_products, n_members), False where a member abstains
        missing : (n_products, n_modalities), True where a product lacks one; taken as none by default
        """
        stacking: Floats = self.stacking
        if missing is not None and self.gaps is not None:
            stacking = stacking + EDGE
            for column, factors in zip(missing.T, self.gaps, strict=True):
                stacking = stacking * np.where(column[:, None, None], factors, 1.0)
        stacked = pooled(self.members.log_odds(logits), present, stacking, self.priors)
        answered = present.any(axis=1, keepdims=True) & self.trainable
        return np.where(answered, self.ensemble(stacked), self.priors)


def fit_calibration(
    logits: NDArray[np.floating],
    present: NDArray[np.bool_],
    targets: Labels,
    weights: NDArray[np.floating],
    *,
    people: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Everything between logits and probabilities, fitted on predictions for unseen products.

    Where people answered, stacking weights are theirs to say: which member to trust is what merchants' labels, which
    some members learn to repeat, tell worst.

    Parameters
    ----------
    logits : (n_products, n_members, n_classes)
    present : (n_products, n_members), False where a member abstains
    targets, weights : (n_products, n_classes)
    people : (n_products, n_classes), where the target is a person's answer
    """
    positive, rates = targets == 1, served_priors(targets)
    lines = [fit_platt(logits[:, m], positive, weights * present[:, [m]]) for m in range(logits.shape[1])]
    members = Platt(np.stack([line.slope for line in lines]), np.stack([line.shift for line in lines]))
    log_odds = members.log_odds(logits)
    stacking = fit_stacking(
        log_odds, present, positive, weights if people is None else mostly_people(people, targets, weights)
    )
    ensemble = fit_platt(pooled(log_odds, present, stacking, rates), positive, weights)
    return Calibration(members, ensemble, stacking, rates, trainable_classes(targets))

"""Traffic with known truth, two models of known quality, and answers drawn as the service draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.acquisition.sampling import draw_questions, inclusion_probabilities
from service.acquisition.scores import ScoreMeans, Scores, binary_entropy, cubed, question_weights
from training.retraining.gain import Judged

Float = NDArray[np.float64]

N_CLASSES, N_TRAFFIC, N_QUESTIONS = 49, 4_000, 5
RATES = np.geomspace(0.008, 0.4, N_CLASSES)
LOG_ODDS = np.log(RATES / (1 - RATES))
# Separation of positives from negatives, in standard deviations, that gives macro average precision .88, .90 and .92
# at these rates (the test of this file measures it).
WORSE, SAME, BETTER = 3.183, 3.311, 3.459
ALIKE = 0.9  # correlation of both models' errors; they share nearly all their training data


@dataclass(frozen=True)
class Traffic:
    """Products with their true answers and both models' calibrated probabilities; all (n_products, n_classes)."""

    truth: Float
    incumbent: Float
    candidate: Float


def traffic(
    rng: np.random.Generator, separation: float, *, n_products: int = N_TRAFFIC, alike: float = ALIKE
) -> Traffic:
    """Draw products; the incumbent has the separation SAME, the candidate the one given."""
    truth = (rng.random((n_products, N_CLASSES)) < RATES).astype(np.float64)
    ours, own = rng.standard_normal((2, n_products, N_CLASSES))
    theirs = alike * ours + np.sqrt(1 - alike**2) * own
    return Traffic(truth, _calibrated(ours, truth, SAME), _calibrated(theirs, truth, separation))


def _calibrated(noise: Float, truth: Float, separation: float) -> Float:
    """Probability of yes, by Bayes, for a score that is normal around 0 for no and around the separation for yes."""
    evidence = separation * (noise + separation * truth) - separation**2 / 2
    probabilities: Float = 1 / (1 + np.exp(-LOG_ODDS - evidence))
    return probabilities


def judged(rng: np.random.Generator, world: Traffic, *, n_labelled: int = 500) -> Judged:
    """Ask five questions about each of the products that priority sampling draws with the incumbent's doubt."""
    weights = _question_weights(world.incumbent)
    priorities = weights.sum(axis=1) / (1 - rng.random(len(weights)))
    order = np.argsort(-priorities)
    drawn, threshold = order[:n_labelled], priorities[order[n_labelled]]
    chances = inclusion_probabilities(weights[drawn], N_QUESTIONS)
    asked = draw_questions(chances, [rng.bytes(16) for _ in drawn], salt=rng.bytes(16))
    row, class_index = np.nonzero(asked)
    product_weights = np.maximum(1.0, threshold / weights[drawn].sum(axis=1))
    return Judged(
        classes=tuple(f"class {index}" for index in range(N_CLASSES)),
        product_index=row,
        class_index=class_index,
        answers=world.truth[drawn][asked],
        weights=(product_weights[:, None] / chances)[asked],
        incumbent=world.incumbent[drawn][asked],
        candidate=world.candidate[drawn][asked],
        incumbent_thresholds=np.full(N_CLASSES, 0.5),
        candidate_thresholds=np.full(N_CLASSES, 0.5),
        priors=RATES,
    )


def _question_weights(probabilities: Float) -> Float:
    doubt = np.asarray(binary_entropy(probabilities), dtype=np.float64)
    means = ScoreMeans(cubed(doubt).mean(axis=0), probabilities.mean(axis=0), float(len(doubt)))
    return question_weights(Scores(doubt, np.zeros_like(doubt), doubt), probabilities, means=means).weights

"""Surprising answers: which are asked again, how often annotators err by that, and how far an answer is to be believed.

Asking again is left to `service.label_queue`, estimates to `service.quality.live_quality`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Counts = NDArray[np.int64]

SURPRISING = 0.1  # an answer to which the model gives a smaller chance is asked again
_MOST_CONTRADICTED = 0.2475  # error rate .45; people who guess tell nothing
_LEAST_CHANCE = 1e-9
_FEWEST, _MOST = 0.05, 20.0  # positives for each that the model expects
_MOST_LOG_ODDS = 60.0
_N_STEPS = 20


def error_rate(probabilities: Float, n_yes: Counts, n_no: Counts) -> float:
    """Share of wrong answers to plain questions, from how many of them got a surprising answer and then the other.

    Whatever the truth, the surprising answer comes first and is contradicted in e(1 - e) of the plain questions. Where
    surprising answers still wait for their second opinion, those that have one speak for them. Questions that are
    asked twice from the start can be contradicted in either order, which doubles the rate at most.

    Parameters
    ----------
    probabilities : (n_questions,), the model's
    n_yes, n_no : (n_questions,), annotators who gave each answer

    Returns
    -------
    0 to .45; 0 where nobody has contradicted anybody.
    """
    n_surprised = np.where(probabilities < SURPRISING, n_yes, np.where(probabilities > 1.0 - SURPRISING, n_no, -1))
    n_answers = n_yes + n_no
    is_plain = (n_surprised >= 0) & (n_answers > 0)
    surprised = is_plain & (n_surprised > 0)
    asked_again = surprised & (n_answers > 1)
    if not asked_again.any():
        return 0.0
    share_contradicted = np.count_nonzero(asked_again & (n_surprised < n_answers)) / np.count_nonzero(asked_again)
    rate = min(share_contradicted * np.count_nonzero(surprised) / np.count_nonzero(is_plain), _MOST_CONTRADICTED)
    return (1.0 - math.sqrt(1.0 - 4.0 * rate)) / 2.0


def believed(
    *,
    probabilities: Float,
    served: NDArray[np.bool_],
    leads: Counts,
    weights: Float,
    expected_missed: float,
    error: float,
) -> Float:
    """Chance that the truth is yes, given what the model says and by how many annotators one answer leads.

    Without errors it is what they say; a tie leaves what the model says. What the model expects of the positives that
    it misses is corrected by how many of them were found, over all classes together.

    Parameters
    ----------
    served : the served yes/no
    leads : annotators who say yes less those who say no
    weights : how many questions each stands for
    expected_missed : positives that the model expects among all that it serves as negative
    error : share of wrong answers

    Returns
    -------
    (n_questions,), in [0, 1]

    Source: Dawid & Skene 1979, with one error rate, and the model as the prior.
    """
    if error <= 0.0:
        return np.where(leads == 0, probabilities, (leads > 0).astype(np.float64))
    chances = np.clip(probabilities, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    log_odds = np.log(chances / (1.0 - chances)) + leads * math.log((1.0 - error) / error)
    missed_weights = np.where(served, 0.0, weights)
    factor = 1.0
    for _ in range(_N_STEPS):  # expectation and maximisation; a few steps are enough
        beliefs = _sigmoid(np.where(served, log_odds, log_odds + math.log(factor)))
        found = float(missed_weights @ beliefs)
        factor = min(max(found / max(expected_missed, _LEAST_CHANCE), _FEWEST), _MOST)
    return beliefs


def _sigmoid(log_odds: Float) -> Float:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS))), dtype=np.float64)

"""The gate: may a candidate replace the incumbent, judged on answers that neither was trained on, and why.

Pure arithmetic. Which answers those are, and what both models say to them, is left to `training.retraining.retrain`;
moving the pointer to `training.retraining.promote`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from service.quality.weighed_answers import effective_sample_size
from training.retraining.gain import Judged, mean_gain, standardised_gains

Float = NDArray[np.float64]

ROUNDING = 1e-9  # of a difference, as a share of it


@dataclass(frozen=True)
class Checks:
    """What was measured of the candidate's graph beside its answers.

    Parameters
    ----------
    incumbent_seconds, candidate_seconds : least time of one batch on the same machine, measured in turns
    parity_difference : greatest difference between a probability of the graph and of the trained model
    """

    incumbent_seconds: float
    candidate_seconds: float
    parity_difference: float


@dataclass(frozen=True)
class Policy:
    """How much proof the gate wants.

    Parameters
    ----------
    level : of the interval: an equally good candidate passes about as often; kept below the 5 in 100 that are promised
    class_level : chance with which any class is wrongly called worse, over all classes together
    min_products : fewer judged products decide nothing
    min_class_answers : a class with fewer answers is left out
    negligible : loss of a class, in its standardised Brier score, that is no objection, however sure it is
    max_slowdown : how many times slower than the incumbent the candidate may be
    max_parity_difference : between graph and trained model
    """

    level: float = 0.04
    class_level: float = 0.05
    min_products: int = 50
    min_class_answers: int = 5
    negligible: float = 1e-3
    max_slowdown: float = 1.5
    max_parity_difference: float = 1e-3


@dataclass(frozen=True)
class Comparison:
    """A paired difference, candidate against incumbent, with its interval; positive is better."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassComparison:
    """One class: its gain in the standardised Brier score, and whether the candidate is clearly worse there.

    A class has few answers, some of large weight, so that the weighted interval sees only the worst. Questions are
    asked where the incumbent doubts, which favours the candidate: if it loses on the answers as asked, each counting
    the same, it is clearly worse too.
    """

    name: str
    n_answers: int
    difference: float
    low: float  # of the interval corrected for the number of classes
    high: float
    clearly_worse: bool


@dataclass(frozen=True)
class Verdict:
    """The gate's answer with its evidence."""

    promote: bool
    reasons: tuple[str, ...]
    level: float  # of its intervals
    n_products: int
    n_answers: int
    effective_sample_size: float
    gain: Comparison  # standardised Brier score, mean over classes
    f1: Comparison  # macro F1 of the yes/no answers at each model's own thresholds
    classes: tuple[ClassComparison, ...]
    checks: Checks

    def to_json(self) -> dict[str, Any]:
        """Everything by name, finite numbers only."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def judge(judged: Judged, *, checks: Checks, policy: Policy | None = None) -> Verdict:
    """Compare both models and decide.

    The candidate passes if its mean gain is above 0 beyond chance, no class and not the yes/no answers as a whole are
    clearly worse, its graph says what the trained model says, and it is not much slower.
    """
    policy = policy or Policy()
    counted = _counted_classes(judged, policy)
    gain = _gain(judged, counted, level=policy.level)
    f1 = _f1(judged, counted, level=policy.level)
    classes = _class_comparisons(judged, counted, policy)
    n_products = len(np.unique(judged.product_index))
    objections = _objections_to_answers(n_products, gain, f1, classes, policy)
    objections += _objections_to_graph(checks, policy)
    return Verdict(
        promote=not objections,
        reasons=tuple(objections) or (_in_words(gain, "the candidate is better: standardised Brier score"),),
        level=policy.level,
        n_products=n_products,
        n_answers=len(judged.answers),
        effective_sample_size=effective_sample_size(judged.weights),
        gain=gain,
        f1=f1,
        classes=classes,
        checks=checks,
    )


def _counted_classes(judged: Judged, policy: Policy) -> NDArray[np.bool_]:
    n_answers = np.bincount(judged.class_index, minlength=len(judged.classes))
    return n_answers >= policy.min_class_answers


def _gain(judged: Judged, counted: NDArray[np.bool_], *, level: float) -> Comparison:
    found = mean_gain(judged, counted)
    return _macro(judged, counted, found.by_class, found.influence, level=level)


def _f1(judged: Judged, counted: NDArray[np.bool_], *, level: float) -> Comparison:
    candidate, candidate_influence = _f1_parts(judged, judged.candidate, judged.candidate_thresholds)
    incumbent, incumbent_influence = _f1_parts(judged, judged.incumbent, judged.incumbent_thresholds)
    influence = candidate_influence - incumbent_influence
    own = np.where(counted[judged.class_index], influence, 0.0) / max(int(counted.sum()), 1)
    return _macro(judged, counted, candidate - incumbent, own, level=level)


def _f1_parts(judged: Judged, probabilities: Float, thresholds: Float) -> tuple[Float, Float]:
    """Weighted F1 per class, (n_classes,), and what each question adds to it in first order, (n_questions,)."""
    positive = (probabilities >= thresholds[judged.class_index]).astype(np.float64)
    hits, claims = 2 * positive * judged.answers, positive + judged.answers
    denominators = judged.per_class(judged.weights * claims)
    safe = np.where(denominators > 0, denominators, 1.0)
    scores = judged.per_class(judged.weights * hits) / safe
    influence = judged.weights * (hits - scores[judged.class_index] * claims) / safe[judged.class_index]
    return scores, influence


def _macro(
    judged: Judged, counted: NDArray[np.bool_], differences: Float, influence: Float, *, level: float
) -> Comparison:
    if not counted.any():
        return Comparison(0.0, -math.inf, math.inf)
    return _interval(float(differences[counted].mean()), judged.per_product(influence), level=level)


def _interval(difference: float, influence: Float, *, level: float) -> Comparison:
    """Interval of a difference that is a sum of independent contributions; each side is wrong with chance `level`.

    A few large weights make the sum far from normal: Student's t, with as many degrees of freedom as contributions
    that matter (Satterthwaite 1946), keeps the promised level in simulation. Contributions that are all alike say
    nothing of those that were not seen: a class that cannot be learned has its prior for every product, and a handful
    of answers that are all no would prove the lower prior to be the better one.
    """
    squares = influence**2
    n, total = len(squares), float(squares.sum())
    if total == 0.0 and difference == 0.0:  # both models say the same
        return Comparison(0.0, 0.0, 0.0)
    if n < 2 or total <= (ROUNDING * difference) ** 2:
        return Comparison(difference, -math.inf, math.inf)
    freedom = max(1.0, total**2 / float((squares**2).sum()) - 1.0)
    margin = float(student_t.ppf(1.0 - level, freedom)) * math.sqrt(total * n / (n - 1))
    return Comparison(difference, difference - margin, difference + margin)


def _class_comparisons(judged: Judged, counted: NDArray[np.bool_], policy: Policy) -> tuple[ClassComparison, ...]:
    level = policy.class_level / max(1, 2 * int(counted.sum()))  # Bonferroni: two tests a class
    gains = standardised_gains(judged)
    found = []
    for index in np.flatnonzero(counted):
        rows = judged.class_index == index
        weighted = _mean_gain(gains[rows], judged.weights[rows], level=level)
        as_asked = _mean_gain(gains[rows], np.ones(int(rows.sum())), level=level)
        found.append(
            ClassComparison(
                name=judged.classes[index],
                n_answers=int(rows.sum()),
                difference=weighted.difference,
                low=weighted.low,
                high=weighted.high,
                clearly_worse=min(weighted.high, as_asked.high) < -policy.negligible,
            )
        )
    return tuple(found)


def _mean_gain(gains: Float, weights: Float, *, level: float) -> Comparison:
    shares = weights / weights.sum()
    mean = float(shares @ gains)
    influence: Float = shares * (gains - mean)
    return _interval(mean, influence, level=level)


def _objections_to_answers(
    n_products: int, gain: Comparison, f1: Comparison, classes: tuple[ClassComparison, ...], policy: Policy
) -> list[str]:
    found = []
    if n_products < policy.min_products:
        found.append(f"only {n_products} newly labelled products to judge by; the gate wants {policy.min_products}")
    if not gain.low > 0.0:
        claim = "the candidate is worse" if gain.high < 0.0 else "not shown to be better"
        found.append(_in_words(gain, f"{claim}: standardised Brier score"))
    if f1.high < 0.0:
        found.append(_in_words(f1, "its yes/no answers are worse: macro F1"))
    return found + [
        f"class {row.name!r} is clearly worse: {row.difference:+.4f}" for row in classes if row.clearly_worse
    ]


def _objections_to_graph(checks: Checks, policy: Policy) -> list[str]:
    found = []
    if not checks.parity_difference <= policy.max_parity_difference:  # true for NaN too
        found.append(f"the graph differs from the trained model by {checks.parity_difference:.2g}")
    if not checks.candidate_seconds <= policy.max_slowdown * checks.incumbent_seconds:
        seconds = f"{checks.candidate_seconds:.4f} s a batch against {checks.incumbent_seconds:.4f} s"
        found.append(f"it is slower: {seconds}; {policy.max_slowdown:g} times is allowed")
    return found


def _in_words(comparison: Comparison, claim: str) -> str:
    return f"{claim} {comparison.difference:+.4f} (from {comparison.low:+.4f} to {comparison.high:+.4f})"


def _finite(value: Any) -> Any:
    """The same, with None for what JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

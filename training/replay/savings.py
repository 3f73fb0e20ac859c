"""What a replay shows: curves over seeds, answers and cost to a target, paired differences, and a recommendation.

Pure arithmetic over runs; showing it is left to `training.replay.replay_report`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from training.replay.runs import Plan, Run
from training.replay.strategies import RANDOM_PRODUCTS, SHIPPED

Float = NDArray[np.float64]
Measure = Literal["macro_ap", "rare_quarter_ap", "macro_f1"]
MEASURES: tuple[Measure, ...] = ("macro_ap", "rare_quarter_ap", "macro_f1")
OPENING_COSTS = (0, 3, 10)  # answers that opening a product costs as much as
LEVEL = 0.95
N_COMPARED = 20  # places along a run at which two are compared


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds with its interval; None where a seed has no value."""

    mean: float | None
    low: float | None
    high: float | None
    sd: float | None


@dataclass(frozen=True)
class Summary:
    """One strategy over all seeds.

    Parameters
    ----------
    end : of each measure after the last round
    answers, products_opened, effective_answers : mean after the last round
    to_target : by opening cost, the cost of what random products give at the end; None where a seed never got there
    savings : by opening cost, how many times less than random products it takes to the target
    """

    strategy: str
    answers: float
    products_opened: float
    effective_answers: float
    end: dict[str, Estimate]
    to_target: dict[int, Estimate]
    savings: dict[int, Estimate]
    warm_seconds: float


@dataclass(frozen=True)
class Study:
    """The whole replay of one catalogue.

    Parameters
    ----------
    target : macro AP that random products give at the end, mean over seeds
    differences : paired by seed, what one knob of the shipped sampling changes in macro AP, in the mean over the run
    """

    catalogue: str
    plan: Plan
    seeds: tuple[int, ...]
    target: float
    cold_seconds: float
    summaries: tuple[Summary, ...]
    differences: dict[str, Estimate]
    recommendation: str
    runs: tuple[Run, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything by name, the runs point by point."""
        return asdict(self)


def study(catalogue: str, runs: Sequence[Run], *, plan: Plan) -> Study:
    """Sum up the runs; those of random products must be among them."""
    by_strategy: dict[str, list[Run]] = {}
    for one in runs:
        by_strategy.setdefault(one.strategy, []).append(one)
    reference = {one.seed: one for one in by_strategy[RANDOM_PRODUCTS.name]}
    summaries = tuple(_summary(name, own, reference) for name, own in by_strategy.items())
    return Study(
        catalogue=catalogue,
        plan=plan,
        seeds=tuple(sorted(reference)),
        target=float(np.mean([one.points[-1].macro_ap for one in reference.values()])),
        cold_seconds=float(np.mean([one.points[0].train_seconds for one in runs])),
        summaries=summaries,
        differences=_differences(by_strategy),
        recommendation=_recommendation(summaries, _rivals(by_strategy)),
        runs=tuple(runs),
    )


def cost_to(run: Run, *, target: float, opening_cost: float) -> float:
    """Cost at which a run first reaches a macro AP, between two rounds in proportion; infinity if it never does."""
    costs = [point.answers + opening_cost * point.products_opened for point in run.points]
    levels = np.maximum.accumulate([point.macro_ap for point in run.points])
    reached = np.flatnonzero(levels >= target)
    if len(reached) == 0:
        return math.inf
    first = int(reached[0])
    if first == 0:
        return float(costs[0])
    share = (target - levels[first - 1]) / (levels[first] - levels[first - 1])
    return float(costs[first - 1] + share * (costs[first] - costs[first - 1]))


def curve(runs: Sequence[Run], measure: Measure, *, opening_cost: float) -> tuple[Float, Float, Float]:
    """Mean cost, mean and standard deviation of a measure after each round, over seeds; each (n_rounds + 1,)."""
    costs = np.asarray([[p.answers + opening_cost * p.products_opened for p in run.points] for run in runs])
    values = np.asarray([[getattr(point, measure) for point in run.points] for run in runs])
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(values.shape[1])
    return costs.mean(axis=0), values.mean(axis=0), deviation


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of independent values with Student's interval; a single value has none."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0 or not np.isfinite(array).all():
        return Estimate(None, None, None, None)
    mean = float(array.mean())
    if len(array) == 1:
        return Estimate(mean, None, None, None)
    sd = float(array.std(ddof=1))
    margin = float(student_t.ppf((1 + LEVEL) / 2, len(array) - 1)) * sd / math.sqrt(len(array))
    return Estimate(mean, mean - margin, mean + margin, sd)


def _summary(name: str, runs: Sequence[Run], reference: Mapping[int, Run]) -> Summary:
    last = [one.points[-1] for one in runs]
    return Summary(
        strategy=name,
        answers=float(np.mean([point.answers for point in last])),
        products_opened=float(np.mean([point.products_opened for point in last])),
        effective_answers=float(np.mean([point.effective_answers for point in last])),
        end={measure: estimate([getattr(point, measure) for point in last]) for measure in MEASURES},
        to_target={
            cost: estimate([cost_to(one, target=_end(reference[one.seed]), opening_cost=cost) for one in runs])
            for cost in OPENING_COSTS
        },
        savings={cost: estimate([_saving(one, reference[one.seed], cost) for one in runs]) for cost in OPENING_COSTS},
        warm_seconds=float(np.mean([point.train_seconds for one in runs for point in one.points[1:]])),
    )


def _saving(run: Run, reference: Run, opening_cost: float) -> float:
    """How many times less a run costs than random products, both at what these give at the end, or at the run's best.

    Both costs are those at which the level is first reached, so that a curve with noise favours neither.
    """
    target = min(max(point.macro_ap for point in run.points), _end(reference))
    cost = cost_to(run, target=target, opening_cost=opening_cost)
    return cost_to(reference, target=target, opening_cost=opening_cost) / cost if cost else math.nan


def _end(run: Run) -> float:
    return run.points[-1].macro_ap


QUESTIONS = {
    "disagreement added to uncertainty (eta 0.5)": ("half disagreement", "uncertainty only"),
    "disagreement in place of uncertainty (eta 1)": ("disagreement only", "uncertainty only"),
    "doubt added to likely positives": (SHIPPED.name, "likely positives"),
    "3 questions a product in place of 5": ("3 questions", SHIPPED.name),
    "10 questions a product in place of 5": ("10 questions", SHIPPED.name),
    "floor 0.02 in place of 0.1": ("floor 0.02", SHIPPED.name),
    "floor 0.5 in place of 0.1": ("floor 0.5", SHIPPED.name),
    "importance weights W^0.5 in the loss": ("loss weights W^0.5", SHIPPED.name),
    "importance weights W in the loss": ("loss weights W", SHIPPED.name),
    "unequal class budgets": ("unequal budgets", SHIPPED.name),
    "a fixed choice of most doubt in place of a draw": ("top questions", SHIPPED.name),
    "doubtful merchant labels in place of the stream": ("doubtful merchant labels", SHIPPED.name),
    "doubtful merchant labels asked, too": ("stream and catalogue", SHIPPED.name),
}


def _differences(by_strategy: Mapping[str, Sequence[Run]]) -> dict[str, Estimate]:
    """What each change does to macro AP at equal answers."""
    return {
        question: estimate(_paired(by_strategy[one], by_strategy[other]))
        for question, (one, other) in QUESTIONS.items()
        if one in by_strategy and other in by_strategy
    }


def _paired(ones: Sequence[Run], others: Sequence[Run]) -> list[float]:
    by_seed = {run.seed: run for run in others}
    return [mean_lead(run, by_seed[run.seed]) for run in ones if run.seed in by_seed]


def mean_lead(run: Run, other: Run) -> float:
    """How far a run's macro AP is above another's, in the mean over the answers that both have given."""
    last = min(run.points[-1].answers, other.points[-1].answers)
    grid = np.linspace(0, last, N_COMPARED + 1)[1:]
    return float(np.mean(_levels(run, grid) - _levels(other, grid)))


def _levels(run: Run, answers: Float) -> Float:
    return np.interp(answers, [point.answers for point in run.points], [point.macro_ap for point in run.points])


def _rivals(by_strategy: Mapping[str, Sequence[Run]]) -> dict[str, Estimate]:
    """The lead over the shipped sampling of every other way to ask, where the whole interval is above 0."""
    shipped = by_strategy.get(SHIPPED.name, [])
    leads = {name: estimate(_paired(own, shipped)) for name, own in by_strategy.items() if name != SHIPPED.name}
    return {name: lead for name, lead in leads.items() if lead.low is not None and lead.low > 0.0}


def _recommendation(summaries: Sequence[Summary], rivals: Mapping[str, Estimate]) -> str:
    named = {one.strategy: one for one in summaries}
    shipped = named.get(SHIPPED.name)
    if shipped is None:
        return "The shipped sampling was not among the strategies; nothing can be recommended."
    answers, cost = shipped.savings[0], shipped.savings[3]
    if answers.mean is None or answers.low is None or cost.mean is None or cost.low is None:
        return "Too few seeds, or no common level of accuracy: run it with at least two seeds and more rounds."
    if answers.low <= 1.0:
        found = "Random products are as good here: no saving was shown. Label whole products at random."
    else:
        found = (
            f"Ask the shipped way: {answers.mean:.1f} times fewer answers ({answers.low:.1f} to {answers.high:.1f}), "
        )
        found += _at_a_cost(cost)
    return found + _rival(rivals)


def _at_a_cost(saving: Estimate) -> str:
    if saving.mean is None or saving.low is None or saving.low <= 1.0:
        return "but where opening a product costs as much as 3 answers, no saving was shown."
    return f"{saving.mean:.1f} times less cost where opening a product costs as much as 3 answers."


def _rival(rivals: Mapping[str, Estimate]) -> str:
    if not rivals:
        return ""
    best = max(rivals, key=lambda name: rivals[name].mean or 0.0)
    return (
        f" At equal answers, {best} led the shipped way by {rivals[best].mean:.4f} in macro average precision; "
        "what it costs in products opened, and in what can be estimated from its answers, the table says."
    )

"""What a loop did, round by round: as values, as JSON, and as an HTML report with plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training import plots
from training.loop.newcomers import Newcomers
from training.page import drawings, write_page
from training.retraining.gate import Verdict


@dataclass(frozen=True)
class Beside:
    """A macro mean as live quality estimates it, with its interval, beside what it is over all of the round's traffic.

    Parameters
    ----------
    truth : by the catalogue's truth
    as_answered : by what the same annotators, with their errors, would answer about all of it: what can be estimated
    """

    estimate: float | None
    lower: float
    upper: float
    truth: float | None
    as_answered: float | None


@dataclass(frozen=True)
class Round:
    """One round; the first has no labels yet. Costs are of this round alone.

    Parameters
    ----------
    failures : how many requests failed, by the reason: a status, or a kind of error where there was no answer
    """

    number: int
    served: str  # version at the end of the round
    test_macro_ap: float
    answers: int
    products_opened: int
    requests_sent: int
    promoted: bool
    seconds: float
    failures: Mapping[str, int] = field(default_factory=dict)
    precision: Beside | None = None
    recall: Beside | None = None
    verdict: Verdict | None = None
    start: str | None = None  # of the training: warm or cold
    training_seconds: float | None = None  # of processor time
    newcomers: Newcomers | None = None

    @property
    def requests_failed(self) -> int:
        """For whatever reason."""
        return sum(self.failures.values())

    @property
    def failed(self) -> str:
        """How many requests failed, with the reasons in words."""
        return _failed(self.failures)


@dataclass(frozen=True)
class LoopReport:
    """All rounds of one loop."""

    catalogue: str
    home: str
    rounds: tuple[Round, ...]

    @property
    def answers(self) -> int:
        """In all rounds."""
        return sum(one.answers for one in self.rounds)

    @property
    def products_opened(self) -> int:
        """In all rounds."""
        return sum(one.products_opened for one in self.rounds)

    @property
    def requests_sent(self) -> int:
        """In all rounds."""
        return sum(one.requests_sent for one in self.rounds)

    @property
    def failures(self) -> Mapping[str, int]:
        """How many requests failed in all rounds, by the reason."""
        return sum((Counter(one.failures) for one in self.rounds), Counter())

    @property
    def failed(self) -> str:
        """How many requests failed in all rounds, with the reasons in words."""
        return _failed(self.failures)

    def to_json(self) -> dict[str, Any]:
        """Everything by name."""
        whole = asdict(self)
        for done, one in zip(whole["rounds"], self.rounds, strict=True):
            done["requests_failed"] = one.requests_failed
            done["verdict"] = one.verdict and one.verdict.to_json()
            if one.newcomers:
                done["newcomers"]["lift"] = one.newcomers.lift
        return whole


def write_loop_report(path: Path, report: LoopReport) -> Path:
    """Write the report and return where it is."""
    return write_page(path, "loop.html", report=report, plots=drawings(_plots(report)))


def _failed(failures: Mapping[str, int]) -> str:
    """How many requests failed, in words: "0", or "3 (2 × status 503, 1 × TimeoutError)", the most frequent first."""
    by_number = sorted(failures.items(), key=lambda one: (-one[1], one[0]))
    reasons = ", ".join(f"{n_failed} × {reason}" for reason, n_failed in by_number)
    return f"{sum(failures.values())} ({reasons})" if reasons else "0"


def _plots(report: LoopReport) -> dict[str, str]:
    rounds = [one.number for one in report.rounds]
    answers = [sum(one.answers for one in report.rounds[: index + 1]) for index in range(len(rounds))]
    drawn = {
        "Macro average precision on the test part, by answers spent": plots.rounds(
            answers, {"test macro AP": [one.test_macro_ap for one in report.rounds]}, x_label="answers of people"
        )
    }
    for name in ("precision", "recall"):
        known = [(one.number, beside) for one in report.rounds if (beside := getattr(one, name)) is not None]
        shown = [(number, beside) for number, beside in known if beside.estimate is not None]
        if shown:
            drawn[f"Live macro {name} beside the truth"] = plots.beside_truth(
                [number for number, _ in shown],
                [(beside.estimate, beside.lower, beside.upper) for _, beside in shown],
                {
                    "by the truth": [beside.truth for _, beside in shown],
                    "as these annotators would answer": [beside.as_answered for _, beside in shown],
                },
                y_label=name,
            )
    newcomers = [(one.number, one.newcomers) for one in report.rounds if one.newcomers]
    if newcomers:
        drawn |= _newcomer_plots(newcomers)
    return drawn


def _newcomer_plots(known: list[tuple[int, Newcomers]]) -> dict[str, str]:
    numbers = [number for number, _ in known]
    return {
        "Newcomers: uncertainty and disagreement, in bits": plots.rounds(
            numbers,
            {
                "uncertainty, newcomers": [one.uncertainty for _, one in known],
                "uncertainty, others": [one.others_uncertainty for _, one in known],
                "disagreement, newcomers": [one.disagreement for _, one in known],
                "disagreement, others": [one.others_disagreement for _, one in known],
            },
            x_label="round",
        ),
        "Newcomers: share of the traffic and of the queue": plots.rounds(
            numbers,
            {
                "traffic": [one.share_of_traffic for _, one in known],
                "queue": [one.share_of_queue for _, one in known],
            },
            x_label="round",
        ),
        "Newcomers: wrong answers on the test part, after the round": plots.rounds(
            numbers,
            {
                "newcomers": [one.test_error_rate for _, one in known],
                "others": [one.others_test_error_rate for _, one in known],
            },
            x_label="round",
        ),
    }

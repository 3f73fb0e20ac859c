"""What came of retraining reaches Prometheus: written down by the one process, told by the other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from prometheus_client import CollectorRegistry

from service.bundles.history import append
from service.bundles.retrainings import RETRAININGS, Gain, Result, RetrainingWatch, results
from service.errors import NoBundle
from service.telemetry.metrics import Metrics
from tests.gate_simulation import BETTER, WORSE, judged, traffic
from training.commands.retraining import GATE_SAYS_NO, say_verdict
from training.retraining.gate import Checks, Verdict, judge
from training.retraining.retrain import NothingNew, Retraining
from training.retraining.retrain_record import recorded

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SECONDS = NOON.timestamp()


@cache
def verdict(separation: float) -> Verdict:
    rng = np.random.default_rng(3)
    return judge(judged(rng, traffic(rng, separation)), checks=Checks(0.01, 0.01, 0.0))


def retraining(said: Verdict) -> Callable[[], Retraining]:
    return lambda: Retraining("b-2", "b-1", said.promote, 40, 12, "cold", {"joint": 3.0, "trees": 1.5}, said)


def told(directory: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    RetrainingWatch(directory, Metrics(registry).retraining.ended).look()
    return registry


def last(registry: CollectorRegistry, outcome: str) -> float | None:
    return registry.get_sample_value("winnow_retraining_timestamp_seconds", {"outcome": outcome})


@pytest.mark.parametrize(("separation", "outcome"), [(BETTER, "promoted"), (WORSE, "turned_down")])
def test_a_verdict_is_written_down_and_told(tmp_path: Path, separation: float, outcome: str) -> None:
    said = verdict(separation)

    recorded(retraining(said), tmp_path, clock=lambda: NOON)

    registry = told(tmp_path)
    assert last(registry, outcome) == SECONDS
    assert registry.get_sample_value("winnow_retraining_answers") == 40
    assert registry.get_sample_value("winnow_retraining_cpu_seconds") == 4.5
    for bound, value in (("estimate", said.gain.difference), ("lower", said.gain.low), ("upper", said.gain.high)):
        assert registry.get_sample_value("winnow_retraining_gain", {"bound": bound}) == value


@pytest.mark.parametrize(
    ("error", "outcome"), [(NothingNew("none"), "nothing_new"), (NoBundle("none"), "failed"), (ValueError(), "failed")]
)
def test_an_error_is_written_down_and_goes_on(tmp_path: Path, error: Exception, outcome: str) -> None:
    def fails() -> Retraining:
        raise error

    with pytest.raises(type(error)):
        recorded(fails, tmp_path, clock=lambda: NOON)

    registry = told(tmp_path)
    assert [last(registry, name) for name in ("promoted", outcome)] == [0.0, SECONDS]


def test_the_newest_of_each_outcome_counts_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    times = iter(NOON + timedelta(hours=hours) for hours in range(3))
    for _ in range(3):
        recorded(retraining(verdict(BETTER)), tmp_path, clock=lambda: next(times))
    with (tmp_path / RETRAININGS).open("a") as file:
        file.write('{"outcome": "promoted", "ended_seconds": 9e9, "versi')

    assert last(told(tmp_path), "promoted") == (NOON + timedelta(hours=2)).timestamp()
    assert len(results(tmp_path)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"ended_seconds": "yesterday"},
        {"ended_seconds": None},
        {"outcome": "perhaps"},
        {"n_answers": "many"},
        {"cpu_seconds": [1.0]},
        {"gain": 0.1},
        {"gain": {"estimate": 0.1}},
        {"gain": {"estimate": "much", "lower": 0.0, "upper": 0.2}},
    ],
)
def test_a_line_of_another_form_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    recorded(retraining(verdict(BETTER)), tmp_path, clock=lambda: NOON)

    append(tmp_path / RETRAININGS, {"outcome": "promoted", "ended_seconds": 9e9} | changes)

    assert last(told(tmp_path), "promoted") == SECONDS
    assert len(results(tmp_path)) == 1


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    said = verdict(BETTER)
    recorded(retraining(said), tmp_path, clock=lambda: NOON)

    gain = Gain(said.gain.difference, said.gain.low, said.gain.high)
    assert results(tmp_path) == [Result("promoted", SECONDS, "b-2", 40, 4.5, gain)]


def test_the_gates_no_is_the_exit_status_unless_it_is_none() -> None:
    said = verdict(WORSE)

    with pytest.raises(typer.Exit) as by_default:
        say_verdict(said, None)
    with pytest.raises(typer.Exit) as scheduled:
        say_verdict(said, None, says_no=0)

    assert (by_default.value.exit_code, scheduled.value.exit_code) == (GATE_SAYS_NO, 0)

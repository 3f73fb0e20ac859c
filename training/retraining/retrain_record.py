"""Writing down what came of a retraining, whatever came of it, for `service.bundles.retrainings` to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from service.bundles.history import append
from service.bundles.retrainings import RETRAININGS, Gain, Outcome, Result
from training.retraining.retrain import NothingNew, Retraining


def recorded(retrain: Callable[[], Retraining], directory: Path, *, clock: Callable[[], datetime]) -> Retraining:
    """Retrain and write down the result, or that it failed; a kill writes nothing.

    Parameters
    ----------
    directory : of the model store's bundles
    clock : the time, asked when it has ended
    """
    try:
        done = retrain()
    except NothingNew:
        append(directory / RETRAININGS, asdict(Result("nothing_new", clock().timestamp())))
        raise
    except Exception:  # whatever it was is written down, and goes on
        append(directory / RETRAININGS, asdict(Result("failed", clock().timestamp())))
        raise
    append(directory / RETRAININGS, asdict(result(done, ended=clock())))
    return done


def result(done: Retraining, *, ended: datetime) -> Result:
    """What is kept of a retraining that came to a verdict."""
    outcome: Outcome = "promoted" if done.promoted else "turned_down"
    gain = done.verdict.gain
    return Result(
        outcome=outcome,
        ended_seconds=ended.timestamp(),
        version=done.candidate,
        n_answers=done.n_answers,
        cpu_seconds=sum(done.seconds.values()),
        gain=Gain(gain.difference, gain.low, gain.high),
    )

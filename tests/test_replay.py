"""The replay study: honest draws, runs that can be repeated, arithmetic that can be checked by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.heads import Lessons
from training.replay import Plan, Point, Run, begin, replay, run
from training.replay_pool import Pool
from training.replay_report import write_replay_report
from training.savings import cost_to, estimate, study
from training.strategies import RANDOM_PRODUCTS, SHIPPED, STRATEGIES, Questioner, Strategy, View

N_TRAIN, N_STREAM, N_TEST, N_CLASSES = 300, 400, 300, 6
VIEWS = (8, 4)
PLAN = Plan(n_rounds=3, n_answers=100, n_products=20)


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody looks at the progress of a test."""


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(0)
    n_products = N_TRAIN + N_STREAM + N_TEST
    features = rng.standard_normal((n_products, sum(VIEWS))).astype(np.float32)
    truth = (features @ rng.standard_normal((sum(VIEWS), N_CLASSES)) > 1.5).astype(np.int8)
    wrong = rng.random((N_TRAIN, N_CLASSES)) < 0.2
    claims = np.where(wrong, 1 - truth[:N_TRAIN], truth[:N_TRAIN]).astype(np.int8)
    askable, test = truth[: N_TRAIN + N_STREAM].copy(), truth[N_TRAIN + N_STREAM :]
    askable[N_TRAIN : N_TRAIN + 10, 0] = -1  # an annotator would be unsure
    return Pool(tuple("abcdef"), features, VIEWS, claims, askable, test)


def view_of(pool: Pool, *, seed: int = 0, answered: bool = False) -> View:
    rng = np.random.default_rng(seed)
    members = rng.beta(0.4, 1.2, (N_STREAM, 3, N_CLASSES)).astype(np.float32)
    return View(
        rows=np.arange(N_TRAIN, pool.n_askable),
        members=members,
        claims=np.full((N_STREAM, N_CLASSES), np.nan),
        answered=rng.random((N_STREAM, N_CLASSES)) < 0.3 if answered else np.zeros((N_STREAM, N_CLASSES), dtype=bool),
    )


def questioner(pool: Pool, strategy: Strategy, *, seed: int = 0, n_answers: int = 100) -> Questioner:
    return Questioner(strategy, classes=pool.classes, priors=np.full(N_CLASSES, 0.2), n_answers=n_answers, seed=seed)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_no_strategy_asks_a_question_twice(pool: Pool, strategy: Strategy) -> None:
    view = view_of(pool, answered=strategy.rule != "whole products")

    asked = questioner(pool, strategy).ask(view)

    pairs = set(zip(asked.rows.tolist(), asked.classes.tolist(), strict=True))
    assert len(pairs) == len(asked.rows) > 0
    assert not view.answered[asked.rows - N_TRAIN, asked.classes].any()
    assert asked.n_opened == len(set(asked.rows.tolist()))


def test_whole_products_are_asked_about_every_class(pool: Pool) -> None:
    asked = questioner(pool, RANDOM_PRODUCTS, n_answers=20 * N_CLASSES).ask(view_of(pool))

    assert asked.n_opened == 20
    assert np.array_equal(np.bincount(asked.classes), np.full(N_CLASSES, 20))


def test_the_shipped_draw_stands_for_all_questions_in_the_mean(pool: Pool) -> None:
    view = view_of(pool)
    totals = [questioner(pool, SHIPPED, seed=seed).ask(view).weights.sum() for seed in range(60)]

    standard_error = np.std(totals) / math.sqrt(len(totals))

    assert abs(np.mean(totals) - N_STREAM * N_CLASSES) < 4 * standard_error


def test_the_shipped_draw_prefers_questions_in_doubt(pool: Pool) -> None:
    view = view_of(pool)
    doubtful = np.abs(view.probabilities - 0.5) < 0.1

    asked = questioner(pool, SHIPPED, n_answers=200).ask(view)

    assert doubtful[asked.rows - N_TRAIN, asked.classes].mean() > 1.3 * doubtful.mean()


def test_a_run_can_be_repeated(pool: Pool) -> None:
    def curve() -> list[tuple[int, float]]:
        done = run(pool, SHIPPED, start=begin(pool, seed=3), seed=3, plan=PLAN)
        return [(point.answers, point.macro_ap) for point in done.points]

    assert curve() == curve()


def test_answers_raise_the_average_precision_that_wrong_merchant_labels_gave(pool: Pool) -> None:
    start = begin(pool, seed=0)

    points = run(pool, RANDOM_PRODUCTS, start=start, seed=0, plan=replace(PLAN, n_rounds=8, n_products=40)).points

    assert points[0].answers == 0
    assert [point.products_opened for point in points] == [40 * done for done in range(9)]
    assert points[-1].macro_ap > points[0].macro_ap + 0.02


def test_annotators_who_always_err_make_it_worse(pool: Pool) -> None:
    start = begin(pool, seed=0)
    wrong = replace(PLAN, error_rate=1.0, n_products=100, n_rounds=4)

    points = run(pool, RANDOM_PRODUCTS, start=start, seed=0, plan=wrong).points

    assert points[-1].macro_ap < points[0].macro_ap - 0.05


def test_asking_about_the_catalogue_overrides_its_merchant_labels(pool: Pool) -> None:
    start = begin(pool, seed=0)
    catalogue = next(strategy for strategy in STRATEGIES if strategy.asked_of == "catalogue")

    points = run(pool, catalogue, start=start, seed=0, plan=replace(PLAN, n_rounds=8, n_answers=300)).points

    assert points[-1].macro_ap > points[0].macro_ap


def test_a_copied_committee_knows_the_same_and_learns_by_itself(pool: Pool) -> None:
    committee = begin(pool, seed=0).committee
    copy = committee.copy()
    before = committee.predict(pool.features)
    lessons = Lessons(
        pool.features[:N_TRAIN],
        np.ones((N_TRAIN, N_CLASSES), dtype=np.float32),
        np.ones((N_TRAIN, N_CLASSES), dtype=np.float32),
    )

    assert np.array_equal(copy.predict(pool.features), before)
    copy.train(lessons, warm=True)

    assert np.array_equal(committee.predict(pool.features), before)
    assert copy.predict(pool.features).mean() > before.mean() + 0.01


def points(*levels: tuple[int, int, float]) -> tuple[Point, ...]:
    return tuple(Point(answers, opened, level, level, level, 1.0) for answers, opened, level in levels)


def test_the_cost_to_a_target_lies_between_two_rounds_in_proportion() -> None:
    one = Run("x", 0, points((0, 0, 0.8), (100, 10, 0.9), (200, 20, 1.0)))

    assert cost_to(one, target=0.85, opening_cost=0) == pytest.approx(50)
    assert cost_to(one, target=0.95, opening_cost=3) == pytest.approx(195)
    assert cost_to(one, target=1.1, opening_cost=0) == math.inf


@given(st.lists(st.floats(0.1, 0.9), min_size=2, max_size=8), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_higher_target_never_costs_less(levels: list[float], one: float, other: float) -> None:
    of_levels = Run("x", 0, points(*((100 * index, index, level) for index, level in enumerate(levels))))

    low, high = (cost_to(of_levels, target=target, opening_cost=3) for target in sorted((one, other)))

    assert low <= high


def test_a_single_seed_has_no_interval() -> None:
    assert estimate([0.5]).low is None
    assert estimate([0.5, math.inf]).mean is None


def test_where_the_shipped_sampling_saves_nothing_the_study_says_so() -> None:
    same = [
        Run(name, seed, points((0, 0, 0.8), (100, 10, 0.85 + seed / 100)))
        for name in (RANDOM_PRODUCTS.name, SHIPPED.name)
        for seed in range(3)
    ]

    assert study("shop", same, plan=PLAN).recommendation.startswith("Random products are as good here")


def test_a_saving_is_recommended_with_its_interval() -> None:
    runs = [
        *(Run(RANDOM_PRODUCTS.name, seed, points((0, 0, 0.8), (1000 + seed, 20, 0.9))) for seed in range(3)),
        *(Run(SHIPPED.name, seed, points((0, 0, 0.8), (100, 20, 0.9))) for seed in range(3)),
    ]

    assert "Ask the shipped way: 10.0 times fewer answers" in study("shop", runs, plan=PLAN).recommendation


def test_the_report_is_one_file_with_curves_and_the_json_is_whole(pool: Pool, tmp_path: Path) -> None:
    runs = list(replay(pool, [RANDOM_PRODUCTS, SHIPPED], seeds=[0, 1], plan=PLAN, progress=silent))
    found = study("a shop & more", runs, plan=PLAN)

    page = write_replay_report(tmp_path / "report.html", found).read_text()

    assert page.count("<svg") == 4
    assert "a shop &amp; more" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert len(json.loads(json.dumps(found.to_json(), allow_nan=False))["runs"]) == 4

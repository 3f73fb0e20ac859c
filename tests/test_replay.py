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
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service.acquisition.scores import N_QUESTIONS
from tests.trainings import silent
from training.replay.heads import PENALTY, Committee, Lessons, trained
from training.replay.questioner import Questioner, View
from training.replay.replay_pool import Pool
from training.replay.replay_report import write_replay_report
from training.replay.replay_shelf import Shelf, open_shelf, replay
from training.replay.runs import Plan, Point, Run, begin, run
from training.replay.savings import cost_to, estimate, mean_lead, study
from training.replay.strategies import RANDOM_PRODUCTS, SHIPPED, STRATEGIES, Strategy

N_TRAIN, N_STREAM, N_TEST, N_CLASSES = 300, 400, 300, 6
VIEWS = (8, 4)
PLAN = Plan(n_rounds=3, n_answers=100, n_products=20)


def shelf_at(directory: Path, pool: Pool) -> Shelf:
    return open_shelf(directory, pool, PLAN)


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
    return Pool(tuple("abcdef"), csr_array(features), VIEWS, claims, askable, test)


def view_of(pool: Pool, *, seed: int = 0, answered: bool = False) -> View:
    rng = np.random.default_rng(seed)
    members = rng.beta(0.4, 1.2, (N_STREAM, 3, N_CLASSES)).astype(np.float32)
    return View(
        rows=np.arange(N_TRAIN, pool.n_askable),
        members=members,
        shares=np.full(3, 1 / 3),
        claims=np.full((N_STREAM, N_CLASSES), np.nan),
        answered=rng.random((N_STREAM, N_CLASSES)) < 0.3 if answered else np.zeros((N_STREAM, N_CLASSES), dtype=bool),
    )


def questioner(pool: Pool, strategy: Strategy, *, seed: int = 0, n_answers: int = 100) -> Questioner:
    return Questioner(strategy, classes=pool.classes, priors=np.full(N_CLASSES, 0.2), n_answers=n_answers, seed=seed)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_no_strategy_asks_a_question_twice(pool: Pool, strategy: Strategy) -> None:
    view = view_of(pool, answered=not strategy.asks_whole_products)

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


def lessons_of(pool: Pool, n_products: int = N_TRAIN, *, answers: float | None = None) -> Lessons:
    told = pool.truth[:n_products] == 1 if answers is None else np.full((n_products, N_CLASSES), answers)
    return Lessons(pool.features[:n_products], told.astype(np.float32), np.ones(told.shape, dtype=np.float32))


def test_retraining_leaves_the_committee_before_it_as_it_was(pool: Pool) -> None:
    committee = begin(pool, seed=0).committee
    before = committee.predict(pool.features)

    after = committee.retrained(lessons_of(pool, answers=1.0))

    assert np.array_equal(committee.predict(pool.features), before)
    assert after.predict(pool.features).mean() > before.mean() + 0.01


def penalised_loss(committee: Committee, lessons: Lessons) -> NDArray[np.float64]:
    """Of the head that reads everything, by the textbook's formula, (n_classes,)."""
    said = committee.predict(lessons.features)[:, -1].astype(np.float64)
    right = np.where(lessons.answers == 1, said, 1 - said)
    weights = committee.heads[-1][:-1].astype(np.float64)
    return np.asarray((-lessons.weights * np.log(right)).sum(axis=0) + 0.5 * PENALTY * (weights**2).sum(axis=0))


def test_no_small_change_of_a_fitted_head_lowers_its_loss(pool: Pool) -> None:
    lessons = lessons_of(pool)
    committee = trained(VIEWS, lessons)
    for _ in range(6):
        committee = committee.retrained(lessons)
    rng = np.random.default_rng(0)
    best = penalised_loss(committee, lessons)

    for _ in range(20):
        moved = committee.heads[-1] + 0.05 * rng.standard_normal(committee.heads[-1].shape).astype(np.float32)
        other = replace(committee, heads=(*committee.heads[:-1], moved))
        assert (penalised_loss(other, lessons) > best - 1e-3).all()


def test_an_answer_that_weighs_nothing_teaches_nothing(pool: Pool) -> None:
    lessons = lessons_of(pool)
    lessons.weights[:100] = 0.0
    wrong = replace(lessons, answers=lessons.answers.copy())
    wrong.answers[:100] = 1.0 - wrong.answers[:100]

    told, mistold = trained(VIEWS, lessons), trained(VIEWS, wrong)

    assert np.array_equal(told.heads[-1], mistold.heads[-1])


def test_the_shares_of_the_heads_add_up_to_one(pool: Pool) -> None:
    lessons = lessons_of(pool)

    several, single = trained(VIEWS, lessons), trained([sum(VIEWS)], lessons)

    assert several.shares.tolist() == [0.25, 0.25, 0.5]
    assert single.shares.tolist() == [1.0]


def test_a_killed_study_goes_on_with_the_runs_that_are_missing(pool: Pool, tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path, pool)
    first = replay(pool, [RANDOM_PRODUCTS], shelf=shelf, seeds=[0], n_processes=1, progress=silent)
    written = shelf.path(RANDOM_PRODUCTS, 0).stat().st_mtime_ns

    both = replay(pool, [RANDOM_PRODUCTS, SHIPPED], shelf=shelf, seeds=[0], n_processes=1, progress=silent)

    assert both[0] == first[0]
    assert shelf.path(RANDOM_PRODUCTS, 0).stat().st_mtime_ns == written
    assert both[1].strategy == SHIPPED.name


def test_a_strategy_by_another_name_is_not_run_again(pool: Pool, tmp_path: Path) -> None:
    twins = [SHIPPED, replace(SHIPPED, name="its twin")]

    one, other = replay(pool, twins, shelf=shelf_at(tmp_path, pool), seeds=[0], n_processes=1, progress=silent)

    assert len(list(tmp_path.iterdir())) == 1
    assert (one.strategy, other.strategy) == ("shipped", "its twin")
    assert one.points == other.points


def test_processes_find_what_one_alone_finds(pool: Pool, tmp_path: Path) -> None:
    strategies = [RANDOM_PRODUCTS, SHIPPED]

    alone = replay(pool, strategies, shelf=shelf_at(tmp_path / "1", pool), seeds=[0, 1], n_processes=1, progress=silent)
    spread = replay(
        pool, strategies, shelf=shelf_at(tmp_path / "2", pool), seeds=[0, 1], n_processes=2, progress=silent
    )

    assert [levels(one) for one in spread] == [levels(one) for one in alone]


def test_runs_on_other_data_or_by_another_plan_are_not_taken_for_these(pool: Pool, tmp_path: Path) -> None:
    other_truth = pool.truth.copy()
    other_truth[-1, 0] = 1 - other_truth[-1, 0]
    changed = replace(pool, truth=other_truth)

    paths = {
        shelf_at(tmp_path, pool).path(SHIPPED, 0),
        shelf_at(tmp_path, changed).path(SHIPPED, 0),
        open_shelf(tmp_path, pool, replace(PLAN, error_rate=0.5)).path(SHIPPED, 0),
        shelf_at(tmp_path, pool).path(replace(SHIPPED, eta=0.123), 0),
        shelf_at(tmp_path, pool).path(SHIPPED, 1),
    }

    assert len(paths) == 5


def test_every_round_of_the_shipped_sampling_spends_its_answers(pool: Pool) -> None:
    done = run(pool, SHIPPED, start=begin(pool, seed=0), seed=0, plan=replace(PLAN, n_rounds=4, n_answers=150))

    a_product_more = N_QUESTIONS - 1
    assert all(0 <= point.answers - 150 * n <= a_product_more * n for n, point in enumerate(done.points))


def levels(one: Run) -> list[tuple[int, float]]:
    return [(point.answers, point.macro_ap) for point in one.points]


def points(*of: tuple[int, int, float]) -> tuple[Point, ...]:
    return tuple(Point(answers, opened, answers, level, level, level, 1.0) for answers, opened, level in of)


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


def test_the_lead_of_a_run_is_the_mean_gap_over_the_answers_that_both_gave() -> None:
    high = Run("x", 0, points((0, 0, 0.8), (100, 10, 0.9)))
    low = Run("y", 0, points((0, 0, 0.8), (200, 10, 0.8)))

    assert mean_lead(high, low) == pytest.approx(0.0525)  # 0.1 times the mean of 1/20, 2/20, ... 20/20
    assert mean_lead(low, high) == pytest.approx(-0.0525)


def test_a_variant_that_is_better_with_every_seed_is_named() -> None:
    runs = [
        *(Run(RANDOM_PRODUCTS.name, seed, points((0, 0, 0.8), (1000 + seed, 20, 0.9))) for seed in range(3)),
        *(Run(SHIPPED.name, seed, points((0, 0, 0.8), (100, 20, 0.9))) for seed in range(3)),
        *(Run("top questions", seed, points((0, 0, 0.8), (100, 20, 0.95 + seed / 1000))) for seed in range(3)),
    ]

    assert "top questions led the shipped way by 0.02" in study("shop", runs, plan=PLAN).recommendation


def test_the_report_is_one_file_with_curves_and_the_json_is_whole(pool: Pool, tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path / "runs", pool)
    runs = replay(pool, [RANDOM_PRODUCTS, SHIPPED], shelf=shelf, seeds=[0, 1], n_processes=1, progress=silent)
    found = study("a shop & more", runs, plan=PLAN)

    page = write_replay_report(tmp_path / "report.html", found).read_text()

    assert page.count("<svg") == 4
    assert "a shop &amp; more" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert len(json.loads(json.dumps(found.to_json(), allow_nan=False))["runs"]) == 4

"""Retraining from people's answers: what is learned, what judges, what is promoted, what a kill leaves behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from service.bundles.retrainings import RETRAININGS
from service.errors import NoBundle
from service.label_queue.store import LabelQueue, open_store
from service.quality.cohort_records import POOL
from tests.catalogues import WORDS
from tests.trainings import COLD, FIELDS, NOON, OPTIONS, QUICK, answered, mislabelled, silent
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.fit import train
from training.predict import predict
from training.retraining.gate import Policy
from training.retraining.human_labels import HumanLabels, in_share, read_human_labels
from training.retraining.judgement import TrainedOn, judge_candidate, trained_on
from training.retraining.lessons import HumanWeights, with_people
from training.retraining.promote import only_one
from training.retraining.retrain import NothingNew, Retraining, RetrainOptions, gate, retrain, training_state
from training.retraining.retrain_record import recorded
from training.retraining.retrain_report import write_retrain_report
from training.retraining.training_state import STATE

ROOT = Path(__file__).parent.parent
HOWEVER_SLOW = Policy(max_slowdown=100.0)  # on a busy machine the time of a batch tells nothing of a bundle


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That catalogue, and in it the draft of a bundle that has learned from its merchants."""
    directory = mislabelled(tmp_path_factory.mktemp("shop") / "shop")
    train(open_catalogue(directory), directory=directory / "draft", options=QUICK, progress=silent)
    named(directory / "draft", "shop-1")
    return directory


def named(draft: Path, version: str) -> None:
    """Give a bundle a name that does not hold the time: which answers judge its successor follows from it."""
    document = json.loads((draft / "manifest.json").read_text())
    del document["digest"]
    (draft / "manifest.json").write_text(json.dumps({**document, "version": version}))


@pytest.fixture
def catalogue(shop: Path) -> Catalogue:
    return open_catalogue(shop)


@pytest.fixture
def home(shop: Path, tmp_path: Path) -> Path:
    store = BundleStore(tmp_path / "home")
    store.promote(store.save(shop / "draft"))
    return tmp_path / "home"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LabelQueue]:
    opened = open_store(url(tmp_path), lease_seconds=60)
    yield opened
    opened.close()


def url(directory: Path) -> str:
    return f"sqlite:///{directory / 'queue.sqlite3'}"


def run(
    catalogue: Catalogue,
    home: Path,
    queue: LabelQueue,
    *,
    now: datetime = NOON + timedelta(hours=1),
    options: RetrainOptions = OPTIONS,
) -> Retraining:
    store = BundleStore(home)
    one = partial(retrain, catalogue, store=store, queue=queue, directory=home, options=options, now=now)
    return recorded(partial(one, progress=silent, policy=HOWEVER_SLOW), store.directory, clock=lambda: now)


def test_answers_come_with_the_number_of_questions_that_each_stands_for(queue: LabelQueue) -> None:
    answered(queue, n_products=40, tau=3.0, unsure=["mug"])

    labels = read_human_labels(queue, fields=FIELDS, classes=("scarf", "mug"))

    assert labels.answers.shape == (40, 2)
    assert set(labels.answers[:, 0]) == {0, 1}
    assert set(labels.answers[:, 1]) == {-1}
    by_task = dict(zip(labels.task_ids, labels.importance[:, 0], strict=True))
    assert by_task["one-0"] == 6.0  # threshold 3 over weight 1, drawn with probability 1/2
    assert by_task["one-39"] == 0.0  # its priority 1 lies below the threshold


def test_what_was_drawn_from_a_catalogue_teaches_but_does_not_stand_for_traffic(queue: LabelQueue) -> None:
    answered(queue, cohort="drawn", n_products=5, worker=POOL)
    before = read_human_labels(queue, fields=FIELDS, classes=WORDS)
    answered(queue, n_products=3)

    labels = read_human_labels(queue, fields=FIELDS, classes=WORDS)

    is_drawn = np.array([task_id.startswith("drawn") for task_id in labels.task_ids])
    assert (before.importance > 0.0).all()  # nothing else to judge by
    assert (labels.answers >= 0).all()
    assert (labels.importance[~is_drawn] > 0.0).all()
    assert not labels.importance[is_drawn].any()


@pytest.mark.parametrize("options", [OPTIONS, COLD], ids=["warm", "cold"])
def test_people_undo_what_the_merchants_got_wrong(
    catalogue: Catalogue, home: Path, queue: LabelQueue, options: RetrainOptions
) -> None:
    answered(queue, n_products=200)
    lamp = [FIELDS.product({"sku": "x", "title": "a lamp"})]
    store = BundleStore(home)
    before = predict(read_bundle(store.load()), lamp, progress=silent).probabilities[0]

    done = run(catalogue, home, queue, options=options)
    page = write_retrain_report(home / "report.html", done).read_text()

    after = predict(read_bundle(store.load()), lamp, progress=silent).probabilities[0]
    assert done.promoted
    assert store.current() == done.candidate != done.incumbent
    index = catalogue.taxonomy.classes.index("lamp")
    assert after[index] > 0.5 > before[index]
    assert "The gate says yes" in page
    assert "<svg" in page
    assert all(name in page for name in catalogue.taxonomy.classes)


def test_a_warm_start_takes_over_the_vocabulary_and_remembers_what_it_has_learned(
    catalogue: Catalogue, home: Path, queue: LabelQueue
) -> None:
    answered(queue, n_products=40)
    store = BundleStore(home)
    incumbent = read_bundle(store.load())

    warm, cold = (run(catalogue, home, queue, options=options) for options in (OPTIONS, COLD))

    assert (warm.start, cold.start) == ("warm", "cold")
    assert read_bundle(store.load(warm.candidate)).encoding == incumbent.encoding
    state = training_state(store, read_bundle(store.load(warm.candidate)).manifest)
    assert state is not None
    assert len(state.row_of) == len(catalogue.read("train").products) + warm.n_answers // 4


def test_a_bundle_without_a_training_state_is_trained_anew(
    catalogue: Catalogue, shop: Path, tmp_path: Path, queue: LabelQueue
) -> None:
    answered(queue, n_products=40)
    draft = tmp_path / "draft"
    shutil.copytree(shop / "draft", draft)
    document = json.loads((draft / "manifest.json").read_text())
    del document["files"][STATE]
    (draft / "manifest.json").write_text(json.dumps(document))
    store = BundleStore(tmp_path / "home")
    store.promote(store.save(draft))

    assert run(catalogue, tmp_path / "home", queue).start == "cold"


def test_what_judges_is_not_learned_and_is_learned_the_next_time(
    catalogue: Catalogue, home: Path, queue: LabelQueue
) -> None:
    answered(queue, n_products=200)
    first = run(catalogue, home, queue)
    answered(queue, cohort="two", n_products=200, at=NOON + timedelta(hours=2))

    second = run(catalogue, home, queue, now=NOON + timedelta(hours=3))

    assert first.n_new_answers == 800
    assert first.n_answers + 4 * first.verdict.n_products == 800
    assert second.n_answers == 800 + 800 - 4 * second.verdict.n_products


def test_a_candidate_that_is_no_better_is_kept_but_not_served(
    catalogue: Catalogue, home: Path, queue: LabelQueue
) -> None:
    answered(queue, n_products=20)

    done = run(catalogue, home, queue)

    assert not done.promoted
    assert BundleStore(home).current() == done.incumbent
    assert "newly labelled products to judge by; the gate wants 50" in done.verdict.reasons[0]
    assert gate(done.candidate, store=BundleStore(home), queue=queue, progress=silent).n_products == (
        done.verdict.n_products
    )


def test_every_further_look_at_growing_evidence_is_taken_at_half_the_level(
    catalogue: Catalogue, home: Path, queue: LabelQueue
) -> None:
    answered(queue, n_products=20)
    first = run(catalogue, home, queue)

    second = run(catalogue, home, queue, now=NOON + timedelta(hours=2))

    assert not first.promoted
    assert (first.verdict.level, second.verdict.level) == (Policy().level, Policy().level / 2)
    again = gate(first.candidate, store=BundleStore(home), queue=queue, progress=silent)
    assert again.level == first.verdict.level


def test_a_candidate_whose_retraining_was_killed_before_its_verdict_wears_nothing_down(
    catalogue: Catalogue, home: Path, queue: LabelQueue
) -> None:
    answered(queue, n_products=20)
    run(catalogue, home, queue)
    (BundleStore(home).directory / RETRAININGS).unlink()  # as if nothing had been written down about it

    second = run(catalogue, home, queue, now=NOON + timedelta(hours=2))

    assert second.verdict.level == Policy().level


def test_without_new_answers_nothing_is_trained(catalogue: Catalogue, home: Path, queue: LabelQueue) -> None:
    with pytest.raises(NothingNew, match="nobody has answered a question"):
        run(catalogue, home, queue)

    assert len(BundleStore(home).manifests()) == 1


def test_without_an_incumbent_the_remedy_is_named(catalogue: Catalogue, tmp_path: Path, queue: LabelQueue) -> None:
    with pytest.raises(NoBundle, match="run `winnow train` first"):
        run(catalogue, tmp_path / "empty", queue)


def test_a_judgement_repeats_itself(catalogue: Catalogue, home: Path, queue: LabelQueue) -> None:
    answered(queue, n_products=200)
    done = run(catalogue, home, queue)
    store = BundleStore(home)
    candidate, incumbent = (read_bundle(store.load(version)) for version in (done.candidate, done.incumbent))
    answered(queue, cohort="later", at=NOON + timedelta(days=1))
    labels = read_human_labels(queue, fields=catalogue.fields, classes=catalogue.taxonomy.classes)

    then = labels.only(labels.times < NOON.timestamp() + 3600)

    again = judge_candidate(candidate, incumbent, then, progress=silent)
    assert again.gain == done.verdict.gain
    assert judge_candidate(candidate, incumbent, labels, progress=silent).n_answers == again.n_answers + 480


@pytest.mark.parametrize(
    ("start", "stage"),
    [("COLD", "train on all products"), ("OPTIONS", "train on from the incumbent"), ("OPTIONS", "export")],
)
def test_a_kill_leaves_the_incumbent_serving_and_the_next_run_clean(  # noqa: PLR0917  pytest passes by name
    shop: Path, home: Path, queue: LabelQueue, start: str, stage: str, tmp_path: Path
) -> None:
    answered(queue, n_products=200)
    before = BundleStore(home).current()
    program = (
        "import sys, os, signal\n"
        "from tests.test_retrain import *\n"
        "def killed(stage, done, total):\n"
        "    if stage == sys.argv[4]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "retrain(open_catalogue(Path(sys.argv[1])), store=BundleStore(Path(sys.argv[2])),\n"
        "        queue=open_store(sys.argv[3], lease_seconds=60), directory=Path(sys.argv[2]),\n"
        "        options=globals()[sys.argv[5]],\n"
        "        now=NOON + timedelta(hours=1), progress=killed)"
    )
    arguments = [sys.executable, "-c", program, str(shop), str(home), url(tmp_path), stage, start]

    killed = subprocess.run(arguments, cwd=ROOT, timeout=300, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert BundleStore(home).current() == before
    with only_one(home):  # the lock went with the process
        pass
    assert run(open_catalogue(shop), home, queue).promoted
    assert list((home / "tmp").iterdir()) == []  # what was killed in the making is gone


def test_a_bundle_trained_from_a_catalogue_alone_has_learned_from_nobody(home: Path, queue: LabelQueue) -> None:
    answered(queue, n_products=10)
    labels = read_human_labels(queue, fields=FIELDS, classes=WORDS)

    assert not trained_on(read_bundle(BundleStore(home).load()).manifest).learned(labels).any()


@given(st.floats(0.0, 1.0), st.integers(0, 2**32))
def test_a_plan_survives_the_manifest_and_splits_what_is_new(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    moments = (NOON.timestamp() + rng.integers(-3, 3, (30, 2)) * 3600.0).astype(np.float64)
    labels = HumanLabels(
        task_ids=tuple(f"task-{row}" for row in range(30)),
        products=tuple(FIELDS.product({"sku": str(row)}) for row in range(30)),
        answers=rng.integers(-1, 2, (30, 2)).astype(np.int8),
        times=moments,
        importance=np.ones((30, 2)),
    )
    plan = TrainedOn(NOON - timedelta(hours=1), NOON + timedelta(hours=1), "shop-1", share)

    learned = plan.learned(labels)

    known = labels.answers >= 0
    kept_apart = np.array([[in_share(one, salt="shop-1", share=share)] for one in labels.task_ids])
    old, new = moments < plan.since.timestamp(), moments >= plan.until.timestamp()  # type: ignore[union-attr]
    assert np.array_equal(learned[old], known[old])
    assert not learned[new].any()
    between = ~old & ~new
    assert np.array_equal(learned[between], (known & ~kept_apart)[between])


@given(st.integers(0, 2**32), st.floats(0.5, 10.0), st.sampled_from([0.0, 0.5, 1.0]))
def test_answers_stand_over_merchant_labels_with_the_weight_they_are_given(
    seed: int, weight: float, exponent: float
) -> None:
    rng = np.random.default_rng(seed)
    products = [FIELDS.product({"sku": str(row)}) for row in range(6)]
    targets = rng.integers(-1, 2, (6, 3)).astype(np.int8)
    people = HumanLabels(
        task_ids=("a", "b", "c"),
        products=(products[1], FIELDS.product({"sku": "new"}), products[4]),
        answers=np.array([[1, 0, -1], [0, 1, 1], [-1, -1, 0]], dtype=np.int8),
        times=np.zeros((3, 3)),
        importance=rng.uniform(1, 50, (3, 3)),
    )

    lessons = with_people(products, targets, people, HumanWeights(weight, exponent))

    assert [product.product_id for product in lessons.products] == ["0", "1", "2", "3", "4", "5", "new"]
    assert lessons.targets[1].tolist() == [1, 0, targets[1, 2]]
    assert lessons.targets[6].tolist() == [0, 1, 1]
    assert np.array_equal(lessons.targets[[0, 2, 3, 5]], targets[[0, 2, 3, 5]])
    said = lessons.human > 0
    assert said.sum() == 6
    assert lessons.human[said].mean() == pytest.approx(weight, rel=1e-4)
    assert lessons.in_calibration[said].mean() == pytest.approx(16.0, rel=1e-4)
    trust = np.full((7, 3), 0.3, dtype=np.float32)
    assert np.array_equal(lessons.loss_weights(trust)[~said], trust[~said])

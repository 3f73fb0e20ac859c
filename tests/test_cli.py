"""The command line, run as a newcomer runs it: a process, a small demo catalogue, a model store of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import pytest

from service.bundles.drafts import LOCK
from tests.catalogues import constant_and_empty_columns, text_only
from tests.shell import Shell

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in which a demo catalogue lies and one bundle has been trained on it."""
    shell = Shell(tmp_path_factory.mktemp("tour"))
    for arguments in (("demo-catalogue", "--products", "400"), ("train", "data/demo", "--seed", "3")):
        result = shell.winnow(*arguments)
        assert result.returncode == 0, result.stderr
    return shell


def test_training_promotes_what_it_trained(trained: Shell) -> None:
    shown = json.loads(trained.winnow("models", "show").stdout)

    assert shown["catalogue"] == "demo"
    assert shown["provenance"]["seed"] == 3
    assert shown["version"] in trained.winnow("models", "list").stdout


def test_training_names_the_classes_that_it_could_not_learn_and_what_helps(tmp_path: Path) -> None:
    shop = constant_and_empty_columns(tmp_path / "shop")

    result = Shell(tmp_path).winnow("train", str(shop), "--no-promote")

    assert (
        "Not trained, and so answered no for every product: always (120 yes, 0 no), never (0 yes, 120 no), "
        "unknown (0 yes, 0 no). Five known yes and five known no are needed: add merchant labels, or answer questions "
        "at /label and run winnow retrain.\n"
    ) in result.stderr


@pytest.fixture
def without_truth(tmp_path: Path) -> Shell:
    """A shell in which a small catalogue lies whose test part has products only."""
    toml = text_only(tmp_path / "shop") / "catalogue.toml"
    toml.write_text(toml.read_text().replace('truth = "test.labels.parquet"\n', ""))
    return Shell(tmp_path)


def test_a_test_part_without_truth_keeps_nothing_from_being_served(without_truth: Shell) -> None:
    result = without_truth.winnow("train", "shop")

    served = json.loads(without_truth.winnow("models", "show").stdout)["version"]
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stderr.split())
    assert 'Not evaluated: [test] of shop names no truth; add truth = "…" to its catalogue.toml' in said
    assert f"Kept as {served}. Next: winnow serve" in said


def test_a_loop_that_cannot_be_judged_says_so_before_it_trains(without_truth: Shell) -> None:
    result = without_truth.winnow("loop", "shop", "--home", "home")

    assert result.returncode == 1
    assert "error: [test] of shop names no truth" in result.stderr
    assert "training one first" not in result.stderr
    assert not (without_truth.directory / "home").exists()


def test_evaluation_prints_one_json_document_with_ensemble_and_members(trained: Shell) -> None:
    result = trained.winnow("evaluate", "latest", "data/demo", "--json")

    document = json.loads(result.stdout)
    members = json.loads(trained.winnow("models", "show").stdout)["members"]
    assert 0.2 < document["ensemble"]["macro_ap"] <= 1
    assert set(document["members"]) == {member["name"] for member in members}
    assert all("macro_ap" in scores for scores in document["members"].values())


def test_evaluation_prints_a_table_for_people_and_writes_a_report(trained: Shell) -> None:
    result = trained.winnow("evaluate", "current", "data/demo", "--report", "out/report.html")

    assert "macro AP" in result.stdout
    assert "<svg" in (trained.directory / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nowhere"), "nowhere"),
        (("evaluate", "no-such-bundle", "data/demo"), "there is no bundle winnow:no-such-bundle"),
        (("evaluate", "../../etc", "data/demo"), "is no version of a bundle"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_not_a_traceback(
    trained: Shell, arguments: tuple[str, ...], message: str
) -> None:
    result = trained.winnow(*arguments)

    assert result.returncode == 1
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """Tests that a shell has started in the background ignore Ctrl-C, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def is_owned(drafts: Path) -> bool:
    """Whether a process works in a draft; one that is told to end before that leaves it to the next one's sweep."""
    for path in drafts.glob(f"*/{LOCK}"):
        with path.open("ab") as lock:
            try:
                flock(lock, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                return True
    return False


@pytest.mark.usefixtures("hears_interrupts")
@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_told_to_end_leaves_the_store_as_it_was(trained: Shell, ended: signal.Signals) -> None:
    before = sorted(path.name for path in (trained.directory / "bentoml" / "models" / "winnow").iterdir())
    command = [sys.executable, "-m", "training.cli", "train", "data/demo"]
    process = subprocess.Popen(
        command, cwd=trained.directory, env=trained.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )

    drafts = trained.directory / "bentoml" / "tmp"
    while not is_owned(drafts):  # the training has begun
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)  # another process starts: there is nothing else to wait on
    process.send_signal(ended)
    process.communicate(timeout=300)

    after = sorted(path.name for path in (trained.directory / "bentoml" / "models" / "winnow").iterdir())
    assert process.returncode != 0
    assert after == before
    assert not any(drafts.glob("*"))


def test_help_names_every_command_and_the_first_tour(trained: Shell) -> None:
    text = trained.winnow("--help").stdout

    for command in ("demo-catalogue", "train", "evaluate", "models", "serve"):
        assert command in text
    assert "winnow train data/demo" in text

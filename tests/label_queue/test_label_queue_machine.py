"""The queue against a dict: whatever happens in whatever order, both say the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.errors import LeaseLost
from service.label_queue.store import open_store
from tests.label_queue.queue_samples import LEASE, LEASE_SECONDS, NOON, answer, make_cohort, make_task, skip

TASKS = [f"t{index}" for index in range(4)]
CLASSES = ["black", "kids", "formal"]
ANNOTATORS = st.sampled_from(["ann", "ben"])
some_classes = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True)


class QueueMachine(RuleBasedStateMachine):
    """The model: per task its priority, questions and answers; per task the token and the end of its lease."""

    new_url: Callable[[str], str]
    store: str

    @initialize()
    def start(self) -> None:
        self.queue = open_store(self.new_url(self.store), lease_seconds=LEASE_SECONDS)
        self.now = NOON
        self.numbers = count()
        self.priority: dict[str, float] = {}
        self.asked: dict[str, set[str]] = {}
        self.answers: dict[str, dict[str, dict[str, str]]] = {}  # task -> class -> annotator -> answer
        self.skipped: set[str] = set()
        self.held: dict[str, tuple[str, object]] = {}  # task -> token, end
        self.tokens: dict[str, str] = {}  # token -> annotator, as granted: sorting random tokens draws another each run

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.queue.close()

    def is_open(self, task: str) -> bool:
        return task not in self.skipped and not self.asked[task] <= set(self.answers[task])

    def is_held(self, task: str) -> bool:
        return task in self.held and self.held[task][1] > self.now  # type: ignore[operator]

    @rule(task=st.sampled_from(TASKS), classes=some_classes)
    def enqueue(self, task: str, classes: list[str]) -> None:
        priority = float(next(self.numbers) % 7) + TASKS.index(task) / 10
        was_open = task in self.asked and self.is_open(task)
        self.queue.enqueue([make_cohort(make_task(task, priority=priority, classes=classes))], now=self.now)
        self.priority[task] = max(priority, self.priority[task]) if was_open else priority
        self.asked.setdefault(task, set()).update(classes)
        self.answers.setdefault(task, {})

    @rule(annotator=ANNOTATORS, n_tasks=st.integers(1, 3))
    def lease(self, annotator: str, n_tasks: int) -> None:
        lease = self.queue.lease(annotator=annotator, n_tasks=n_tasks, now=self.now)

        free = [task for task in self.asked if self.is_open(task) and not self.is_held(task)]
        expected = sorted(free, key=lambda task: (-self.priority[task], task))[:n_tasks]
        assert [task.id for task in lease.tasks] == expected
        for task in lease.tasks:
            assert {asked.class_name for asked in task.questions} == self.asked[task.id] - set(self.answers[task.id])
            self.held[task.id] = (lease.token, self.now + LEASE)
        if expected:
            self.tokens[lease.token] = annotator

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), classes=some_classes, said=st.sampled_from(["yes", "no", "unsure"]))
    def submit(self, data: st.DataObject, classes: list[str], said: str) -> None:
        task = data.draw(st.sampled_from(sorted(self.asked)))
        token = data.draw(st.sampled_from([None, *self.tokens]))
        annotator = self.tokens[token] if token else data.draw(ANNOTATORS)
        classes = [name for name in classes if name in self.asked[task]] or sorted(self.asked[task])
        sent = answer(annotator, task, dict.fromkeys(classes, said), token=token)  # type: ignore[arg-type]
        if self.is_held(task) and self.held[task][0] != token:
            with pytest.raises(LeaseLost):
                self.queue.submit(sent, now=self.now)
            return
        self.queue.submit(sent, now=self.now)
        for name in classes:
            self.answers[task].setdefault(name, {})[annotator] = said
        self.skipped.discard(task)
        if not self.is_open(task):
            self.held.pop(task, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.held)))
        token, _end = self.held.pop(task)
        was_open = self.is_open(task)
        self.queue.submit(skip(self.tokens[token], task, token=token), now=self.now)
        if was_open:
            self.skipped.add(task)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(list(self.tokens)))
        mine = [task for task, (holder, _end) in self.held.items() if holder == token]
        assert self.queue.release(annotator=self.tokens[token], lease_token=token) == len(mine)
        for task in mine:
            del self.held[task]

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(list(self.tokens)))
        mine = [task for task, (holder, _end) in self.held.items() if holder == token]
        if not mine:
            with pytest.raises(LeaseLost):
                self.queue.extend(annotator=self.tokens[token], lease_token=token, now=self.now)
            return
        lease = self.queue.extend(annotator=self.tokens[token], lease_token=token, now=self.now)
        assert sorted(task.id for task in lease.tasks) == sorted(mine)
        for task in mine:
            self.held[task] = (token, self.now + LEASE)

    @rule(minutes=st.sampled_from([1, 10, 20]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        stats = self.queue.stats(now=self.now)
        states = ["leased" if self.is_held(task) else self.state(task) for task in self.asked]
        names = ("open", "leased", "completed", "withdrawn")
        assert (stats.open, stats.leased, stats.completed, stats.withdrawn) == tuple(map(states.count, names))
        assert stats.questions == sum(map(len, self.asked.values()))
        assert stats.answers == sum(len(said) for classes in self.answers.values() for said in classes.values())

    @invariant()
    def settled_labels_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        found = {
            (product.task_id, label.class_name): label.answer
            for product in self.queue.labels_for_training()
            for label in product.labels
        }
        expected = {
            (task, name): majority(list(said.values()))
            for task, classes in self.answers.items()
            for name, said in classes.items()
        }
        assert found == {key: verdict for key, verdict in expected.items() if verdict != "conflict"}

    def state(self, task: str) -> str:
        if task in self.skipped:
            return "withdrawn"
        return "open" if self.is_open(task) else "completed"


def majority(said: list[str]) -> str:
    n_yes, n_no = said.count("yes"), said.count("no")
    if n_yes == n_no:
        return "conflict" if n_yes else "unsure"
    return "yes" if n_yes > n_no else "no"


@pytest.mark.parametrize(("store", "n_examples"), [("sqlite", 25), ("postgresql", 10)])
def test_the_queue_behaves_like_a_dict(store: str, n_examples: int, new_url: Callable[[str], str]) -> None:
    machine = type("Machine", (QueueMachine,), {"new_url": staticmethod(new_url), "store": store})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=n_examples, stateful_step_count=25, deadline=None)
    )

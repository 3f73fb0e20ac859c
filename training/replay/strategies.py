"""Ways to spend answers: the shipped sampling, what it is compared with, and variants with one knob turned.

A strategy is a value; drawing questions by one is left to `training.replay.questioner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from service.acquisition.scores import ETA, FLOOR, N_QUESTIONS
from service.errors import CatalogueError

Rule = Literal["random", "top", "shipped"]
AskedOf = Literal["stream", "catalogue", "both"]


@dataclass(frozen=True)
class Strategy:
    """One way to spend answers.

    Parameters
    ----------
    rule : questions drawn at random, those of most doubt, or by the sampling that serves
    n_questions : asked about each drawn product; None for all classes, so that the product is the unit
    eta : share of disagreement in the doubt
    doubt : False leaves only likely positives and the floor in the shipped weights
    unequal_budgets : whether classes with more doubt get more of the answers
    importance_exponent : e of the weight W**e that an answer has in the loss
    human_weight : of an answer in the loss; None for that of the plan
    """

    name: str
    rule: Rule = "shipped"
    n_questions: int | None = N_QUESTIONS
    eta: float = ETA
    floor: float = FLOOR
    doubt: bool = True
    unequal_budgets: bool = False
    importance_exponent: float = 0.0
    asked_of: AskedOf = "stream"
    human_weight: float | None = None

    @property
    def asks_whole_products(self) -> bool:
        """Whether a drawn product is asked about every class."""
        return self.n_questions is None


SHIPPED = Strategy("shipped")
RANDOM_PRODUCTS = Strategy("random products", rule="random", n_questions=None)
STRATEGIES: tuple[Strategy, ...] = (
    RANDOM_PRODUCTS,
    SHIPPED,
    replace(SHIPPED, name="3 questions", n_questions=3),
    replace(SHIPPED, name="10 questions", n_questions=10),
    replace(SHIPPED, name="uncertainty only", eta=0.0),
    replace(SHIPPED, name="half disagreement", eta=0.5),
    replace(SHIPPED, name="disagreement only", eta=1.0),
    replace(SHIPPED, name="likely positives", doubt=False),
    replace(SHIPPED, name="floor 0.02", floor=0.02),
    replace(SHIPPED, name="floor 0.5", floor=0.5),
    replace(SHIPPED, name="loss weights W^0.5", importance_exponent=0.5),
    replace(SHIPPED, name="loss weights W", importance_exponent=1.0),
    replace(SHIPPED, name="unequal budgets", unequal_budgets=True),
    Strategy("top questions", rule="top"),
    Strategy("random questions", rule="random"),
    replace(RANDOM_PRODUCTS, name="random products, answers weigh 1", human_weight=1.0),
    replace(RANDOM_PRODUCTS, name="uncertain products", rule="top", eta=0.0),
    replace(RANDOM_PRODUCTS, name="disputed products", rule="top", eta=1.0),
    replace(RANDOM_PRODUCTS, name="doubtful products", rule="top", eta=0.5),
    replace(SHIPPED, name="shipped, whole products", n_questions=None),
    replace(SHIPPED, name="doubtful merchant labels", asked_of="catalogue"),
    replace(SHIPPED, name="stream and catalogue", asked_of="both"),
)


def named(names: Sequence[str]) -> tuple[Strategy, ...]:
    """Strategies by their names, random products always among them; all of them where no name is given.

    Raises
    ------
    CatalogueError
        If there is no such strategy.
    """
    known = {strategy.name: strategy for strategy in STRATEGIES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CatalogueError(f"there is no strategy {unknown[0]!r}; there are {'; '.join(known)}")
    wanted = {RANDOM_PRODUCTS.name, *names} if names else set(known)
    return tuple(strategy for strategy in STRATEGIES if strategy.name in wanted)

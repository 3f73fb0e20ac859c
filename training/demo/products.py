"""The demo catalogue's products as they truly are: designs, their variants, and the true answer of every class.

What a merchant makes of them is left to `training.demo.merchants`, words to `training.demo.texts`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random

from training.demo.pictures import Look
from training.demo.sketches import SKETCHES
from training.demo.types import AUDIENCES, BRANDS, HUES, MODELS, NOBODY, PATTERN_WEIGHTS, TYPES, ProductType


@dataclass(frozen=True)
class DemoProduct:
    """One product and all that is true of it."""

    product_id: str
    design: int  # variants of one design differ in colour only, and stay in one part
    kind: str  # a key of `TYPES`
    audience: str | None
    hue: str
    trim: str
    pattern: str
    material: str
    brand: str
    model: str
    merchant: int
    formal: bool
    sport: bool
    winter: bool
    eco: bool
    boxed: bool
    tier: float  # price against an ordinary one of the type
    discount: float  # share of the price, in [0, 1)
    n_options: int

    @property
    def type(self) -> ProductType:
        """What it shares with the others of its kind."""
        return TYPES[self.kind]

    @property
    def premium(self) -> bool:
        """Whether it costs far more than an ordinary one of its type."""
        return self.tier >= 1.8

    @property
    def bargain(self) -> bool:
        """Whether it is reduced by a third or more."""
        return self.discount >= 0.35

    @property
    def price(self) -> float:
        """Price before the discount, in euro, ending in .90 as prices do."""
        return max(1.0, round(self.type.price * self.tier)) - 0.1

    @property
    def look(self) -> Look:
        """What a photograph shows; formal, sport and winter ones have a sketch of their own where there is one."""
        styles = [style for style in ("formal", "winter", "sport") if getattr(self, style)]
        sketches = [f"{self.kind}/{style}" for style in styles if f"{self.kind}/{style}" in SKETCHES]
        return Look(
            sketch=sketches[0] if sketches else self.kind,
            main=HUES[self.hue].rgb,
            trim=HUES[self.trim].rgb,
            pattern=self.pattern,
            size=0.72 if self.audience == "kids" else 1.0,
            width=0.88 if self.audience == "women" else 1.0,
            boxed=self.boxed and self.design % 3 != 0,
        )


_GLASS_LIKE = frozenset({"glass", "porcelain", "stoneware"})
_HIDES = frozenset({"leather", "suede"})
_CLASS_RULES: dict[str, Callable[[DemoProduct], bool]] = {
    "footwear": lambda product: product.type.group == "shoes",
    "topwear": lambda product: product.type.group in {"tops", "coats"},
    "bottomwear": lambda product: product.type.group in {"trousers", "skirts"},
    "bags": lambda product: product.type.group == "bags",
    "accessories": lambda product: product.type.group in {"watches", "eyewear", "small", "hats"},
    "home": lambda product: product.type.group in {"kitchen", "decor"},
    "womens": lambda product: product.audience in {"women", "unisex"},
    "mens": lambda product: product.audience in {"men", "unisex"},
    "kids": lambda product: product.audience == "kids",
    "black": lambda product: HUES[product.hue].class_name == "black",
    "red": lambda product: HUES[product.hue].class_name == "red",
    "blue": lambda product: HUES[product.hue].class_name == "blue",
    "striped": lambda product: product.pattern == "striped",
    "dotted": lambda product: product.pattern == "dotted",
    "formal": lambda product: product.formal,
    "sport": lambda product: product.sport,
    "winter": lambda product: product.winter,
    "leather": lambda product: product.material in _HIDES,
    "eco": lambda product: product.eco,
    "fragile": lambda product: product.material in _GLASS_LIKE,
    "hazmat": lambda product: product.type.group in {"beauty", "tech"},
    "gift": lambda product: product.boxed,
    "premium": lambda product: product.premium,
    "bargain": lambda product: product.bargain,
}
CLASSES = tuple(_CLASS_RULES)


def true_classes(product: DemoProduct) -> dict[str, int]:
    """Return the true answer of every class, 1 or 0."""
    return {name: int(rule(product)) for name, rule in _CLASS_RULES.items()}


def make_products(n_products: int, *, n_merchants: int, rng: Random) -> list[DemoProduct]:
    """Make designs of every type in proportion to its weight, each in one to three colours."""
    kinds = _kinds_in_turn(rng)
    products: list[DemoProduct] = []
    for design in itertools.count():
        first = _design(design, next(kinds), merchant=rng.randrange(n_merchants), rng=rng)
        hues = _hues(rng, n_hues=rng.choices((1, 2, 3), (6, 3, 1))[0] + 1)
        for hue in hues[:-1]:
            if len(products) == n_products:
                return products
            product_id = f"w{len(products) + 10_000}"
            products.append(replace(first, product_id=product_id, hue=hue, trim=_contrasting(hue, hues[-1])))
    return products


def _kinds_in_turn(rng: Random) -> Iterator[str]:
    """Kinds for ever, each as often as its weight says, the rare ones spread evenly."""
    waiting = {kind: rng.random() / product_type.weight for kind, product_type in TYPES.items()}
    while True:
        kind = min(waiting, key=lambda name: waiting[name])
        waiting[kind] += 1 / TYPES[kind].weight
        yield kind


def _design(design: int, kind: str, *, merchant: int, rng: Random) -> DemoProduct:
    product_type = TYPES[kind]
    material = _weighted(rng, product_type.materials)
    brand, eco_share, tier = rng.choice(BRANDS)
    formal = rng.random() < product_type.formal
    sport = not formal and rng.random() < product_type.sport
    plain = rng.random() >= product_type.patterned * (0.6 if formal else 1.0)
    return DemoProduct(
        product_id="",
        design=design,
        kind=kind,
        audience=rng.choices(AUDIENCES, product_type.audiences)[0] if any(product_type.audiences) else None,
        hue="",
        trim="",
        pattern="plain" if plain else _weighted(rng, PATTERN_WEIGHTS),
        material=material,
        brand=brand,
        model=rng.choice(MODELS),
        merchant=merchant,
        formal=formal,
        sport=sport,
        winter=rng.random() < product_type.winter * (1.3 if material == "wool" else 0.85),
        eco=material not in _HIDES and rng.random() < eco_share,
        boxed=rng.random() < product_type.boxed,
        tier=tier * rng.lognormvariate(0, 0.33),
        discount=rng.choices((0.0, rng.uniform(0.05, 0.33), rng.uniform(0.36, 0.6)), (6, 2.5, 1.5))[0],
        n_options=rng.choice((1, 1, 2, 3)) if product_type.audiences == NOBODY else rng.randint(2, 9),
    )


def _hues(rng: Random, n_hues: int) -> list[str]:
    """Distinct colours, the frequent ones more often."""
    weights = {name: hue.weight for name, hue in HUES.items()}
    chosen: list[str] = []
    while len(chosen) < n_hues:
        chosen.append(_weighted(rng, weights))
        del weights[chosen[-1]]
    return chosen


def _contrasting(hue: str, wanted: str) -> str:
    """The wanted second colour, or black or white where one could not tell it from the first."""
    first, second = HUES[hue].rgb, HUES[wanted].rgb
    if sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 150:
        return wanted
    return "white" if sum(first) < 380 else "black"


def _weighted(rng: Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]

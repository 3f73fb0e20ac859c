"""The demo catalogue's merchants: what each writes into its feed, and how its labels stray from the truth.

Six feeds translate their own categories and flags, some of them wrongly; four look for keywords in their texts. No feed
says everything: what it leaves out is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from training.demo.products import CLASSES, DemoProduct, true_classes
from training.demo.texts import description, title


@dataclass(frozen=True)
class Merchant:
    """One feed; shares are in [0, 1].

    Parameters
    ----------
    titles : style of `training.demo.texts.title`
    departments : key of `DEPARTMENTS`
    silent : classes that it never fills
    misses : share of the true classes, of a product, that it forgets
    wrong : kind of product -> label that it always sets wrongly
    by_keyword : whether its labels come from words, not from flags
    """

    name: str
    titles: str
    departments: str
    describes: float
    silent: frozenset[str] = frozenset()
    misses: float = 0.1
    wrong: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    by_keyword: bool = False


INVENTS = 0.01  # share of the false classes that a feed with flags claims
CONFUSES = 0.35  # share of the confusable ones: navy called black, imitation called leather, unisex called mens
_HARD = frozenset({"striped", "dotted", "premium", "bargain"})

MERCHANTS: tuple[Merchant, ...] = (
    Merchant("m00", "full", "paths", 0.9, frozenset({"gift", "hazmat"})),
    Merchant("m01", "terse", "paths", 0.3, frozenset({"eco"}), 0.15, {"scarf": {"topwear": 1, "accessories": 0}}),
    Merchant("m02", "full", "merged", 0.6, frozenset({"striped"}), 0.2, {"belt": {"bottomwear": 1, "accessories": 0}}),
    Merchant("m03", "terse", "codes", 0.5, frozenset({"winter", "fragile"}), 0.1, {"bottle": {"sport": 1, "home": 0}}),
    Merchant("m04", "loud", "tags", 0.8, frozenset({"dotted", "eco"}), 0.2, {"sandals": {"footwear": 0}}),
    Merchant(
        "m05", "full", "codes", 0.0, frozenset({"premium", "bargain"}), 0.1, {"jacket": {"topwear": 0, "winter": 1}}
    ),
    Merchant("m06", "full", "merged", 0.9, _HARD | {"gift"}, by_keyword=True),
    Merchant("m07", "terse", "tags", 0.4, _HARD | {"gift"}, by_keyword=True),
    Merchant("m08", "loud", "paths", 0.7, _HARD, by_keyword=True),
    Merchant("m09", "full", "tags", 0.2, frozenset({"premium", "bargain", "hazmat"}), by_keyword=True),
)

DEPARTMENTS: dict[str, dict[str, str]] = {
    "paths": {
        "tops": "Clothing,Tops",
        "coats": "Clothing,Coats & Jackets",
        "dresses": "Clothing,Dresses",
        "trousers": "Clothing,Trousers",
        "skirts": "Clothing,Skirts",
        "shoes": "Shoes",
        "bags": "Bags",
        "watches": "Accessories,Watches",
        "eyewear": "Accessories,Eyewear",
        "small": "Accessories",
        "hats": "Accessories,Hats",
        "kitchen": "Home,Kitchen",
        "decor": "Home,Living",
        "toys": "Toys",
        "beauty": "Beauty",
        "tech": "Electronics",
    },
    "merged": {
        **dict.fromkeys(("tops", "coats", "dresses", "trousers", "skirts"), "Apparel"),
        **dict.fromkeys(("shoes", "bags"), "Shoes & Bags"),
        **dict.fromkeys(("watches", "eyewear", "small", "hats"), "Finishing Touches"),
        **dict.fromkeys(("kitchen", "decor", "toys"), "House & Play"),
        **dict.fromkeys(("beauty", "tech"), "Little Extras"),
    },
    "codes": {
        "tops": "1100",
        "coats": "1200",
        "dresses": "1300",
        "trousers": "1400",
        "skirts": "1450",
        "shoes": "2000",
        "bags": "3000",
        "watches": "3100",
        "eyewear": "3200",
        "small": "3300",
        "hats": "3400",
        "kitchen": "5100",
        "decor": "5200",
        "toys": "6000",
        "beauty": "7000",
        "tech": "8000",
    },
    "tags": {
        "tops": "Wear It",
        "coats": "Wear It,Outdoors",
        "dresses": "Wear It",
        "trousers": "Wear It",
        "skirts": "Wear It",
        "shoes": "Walk It",
        "bags": "Carry It",
        "watches": "Carry It",
        "eyewear": "Wear It",
        "small": "Wear It",
        "hats": "Wear It,Outdoors",
        "kitchen": "Live It",
        "decor": "Live It",
        "toys": "Live It",
        "beauty": "Love It",
        "tech": "Love It",
    },
}
_KEYWORDS: dict[str, tuple[str, ...]] = {  # beginnings of words, as bare as feeds have them
    "footwear": ("shoe", "sneaker", "boot", "heel", "sandal", "loafer", "trainers"),
    "topwear": ("shirt", "top", "sweater", "jumper", "hoodie", "jacket", "coat", "polo"),
    "bottomwear": ("jeans", "trouser", "skirt", "shorts", "chino"),
    "bags": ("bag", "backpack", "tote"),
    "accessories": ("watch", "sunglasses", "belt", "tie", "scarf", "cap", "beanie"),
    "home": ("mug", "vase", "lamp", "cushion", "candle", "tea", "glass"),
    "womens": ("women", "ladies", "her"),
    "mens": ("men", "gents"),
    "kids": ("kids", "junior", "children"),
    "black": ("black", "noir"),
    "red": ("red", "scarlet", "burgundy"),
    "blue": ("blue", "navy"),
    "striped": ("stripe", "breton", "pinstripe"),
    "dotted": ("dot", "spotted", "polka"),
    "formal": ("formal", "business", "office", "tailored", "tie"),
    "sport": ("sport", "running", "training", "gym"),
    "winter": ("winter", "snow", "thermal", "wool"),
    "leather": ("leather", "suede", "nappa"),
    "eco": ("eco", "organic", "recycled", "fair trade"),
    "fragile": ("glass", "porcelain", "break"),
    "hazmat": ("flammable", "battery", "perfume", "polish"),
    "gift": ("gift set", "gift idea", "gift-", "boxed", "present"),
}


def feed_row(product: DemoProduct, rng: Random) -> dict[str, object]:
    """Return what the merchant sends for a product, but its image; None where it sends nothing."""
    merchant = MERCHANTS[product.merchant]
    price = None if rng.random() < 0.03 else product.price
    discounted = None if price is None else round(price * (1 - product.discount), 2)
    return {
        "product_id": product.product_id,
        "title": title(product, merchant.titles, rng),
        "description": description(product, rng) if rng.random() < merchant.describes else None,
        "brand": None if rng.random() < 0.04 else product.brand,
        "merchant": merchant.name,
        "merchant_category": _category(product, merchant, rng),
        "price": price,
        "discounted_price": discounted,
        "n_options": product.n_options,
    }


def merchant_labels(product: DemoProduct, row: Mapping[str, object], rng: Random) -> dict[str, int | None]:
    """Return what the merchant claims of every class: 1, 0 or None."""
    merchant = MERCHANTS[product.merchant]
    claims = _found(row) if merchant.by_keyword else _flagged(product, merchant, rng)
    return {name: None if name in merchant.silent else claims[name] for name in CLASSES}


def _flagged(product: DemoProduct, merchant: Merchant, rng: Random) -> dict[str, int]:
    claims = true_classes(product)
    for name, answer in claims.items():
        if rng.random() < (merchant.misses if answer else INVENTS):
            claims[name] = 1 - answer
    if rng.random() < CONFUSES:
        claims |= _confused(product)
    return claims | dict(merchant.wrong.get(product.kind, {}))


def _confused(product: DemoProduct) -> dict[str, int]:
    confused: dict[str, int] = {}
    if product.hue == "navy":
        confused |= {"blue": 0, "black": 1}
    if product.hue == "burgundy":
        confused |= {"red": 0}
    if product.material == "vegan leather":
        confused |= {"leather": 1}
    if product.audience == "unisex":
        confused |= {"womens": 0}
    return confused


def _found(row: Mapping[str, object]) -> dict[str, int]:
    text = f" {row['title']} {row['description'] or ''} {row['merchant_category']}".lower()
    return {name: int(any(f" {word}" in text for word in _KEYWORDS.get(name, ()))) for name in CLASSES}


def _category(product: DemoProduct, merchant: Merchant, rng: Random) -> str:
    """The merchant's own categories, now and then those of another shelf."""
    table = DEPARTMENTS[merchant.departments]
    group = rng.choice(list(table)) if rng.random() < 0.03 else product.type.group
    category = table[group]
    if merchant.departments == "paths" and product.audience in {"women", "men", "kids"} and rng.random() < 0.7:
        category = f"{product.audience.capitalize()},{category}"
    if merchant.departments == "codes" and product.audience:
        category = f"{category},{category}-{product.audience[0].upper()}"
    return f"{category},Sale" if product.discount > 0.2 and rng.random() < 0.4 else category

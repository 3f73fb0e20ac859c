"""What the demo shop trades in: types of product, colours, brands and names, with how often each occurs.

Drawing products from these is left to `training.demo.products`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from training.demo.pictures import Colour

AUDIENCES = ("women", "men", "unisex", "kids")


@dataclass(frozen=True)
class ProductType:
    """What products of one type have in common; shares are in [0, 1]."""

    group: str  # of the shop: a key of the merchants' category tables
    weight: float  # how many of a hundred products are of this type, about
    price: float  # of an ordinary one
    audiences: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # shares in the order of `AUDIENCES`
    materials: Mapping[str, float] = field(default_factory=lambda: {"plain": 1.0})
    formal: float = 0.0
    sport: float = 0.0
    winter: float = 0.0
    boxed: float = 0.02
    patterned: float = 0.35


@dataclass(frozen=True)
class Hue:
    """A colour as one sees it and the class it counts for."""

    rgb: Colour
    weight: float
    class_name: str | None = None


_CLOTH = {"cotton": 6, "linen": 1, "polyester": 3}
_KNIT = {"wool": 4, "cotton": 3, "polyester": 2}
_SHOE = {"leather": 4, "suede": 1, "canvas": 3, "vegan leather": 1}
_ALL = (0.42, 0.36, 0.12, 0.10)
NOBODY = (0.0, 0.0, 0.0, 0.0)

TYPES: Mapping[str, ProductType] = MappingProxyType(
    {
        "tshirt": ProductType("tops", 7, 22, (0.36, 0.36, 0.1, 0.18), _CLOTH, sport=0.2, patterned=0.5),
        "shirt": ProductType("tops", 6, 45, (0.3, 0.6, 0.04, 0.06), _CLOTH, formal=0.5, patterned=0.45),
        "polo": ProductType("tops", 3, 35, (0.2, 0.6, 0.1, 0.1), _CLOTH, sport=0.35),
        "sweater": ProductType("tops", 5, 55, _ALL, _KNIT, winter=0.7, patterned=0.45),
        "hoodie": ProductType("tops", 4, 48, (0.25, 0.35, 0.25, 0.15), _CLOTH, sport=0.45, winter=0.2),
        "jacket": ProductType("coats", 5, 110, _ALL, {**_KNIT, "leather": 2, "vegan leather": 1}, 0.3, 0.1, 0.45),
        "dress": ProductType("dresses", 5, 65, (0.88, 0, 0, 0.12), _CLOTH, formal=0.25, patterned=0.5),
        "jeans": ProductType("trousers", 4, 60, _ALL, {"cotton": 1}, patterned=0.03),
        "trousers": ProductType("trousers", 4, 55, _ALL, {**_CLOTH, "wool": 1}, formal=0.5, winter=0.12, patterned=0.2),
        "skirt": ProductType("skirts", 3, 42, (0.9, 0, 0, 0.1), _CLOTH, formal=0.2, patterned=0.5),
        "shorts": ProductType("trousers", 3, 30, (0.3, 0.4, 0.12, 0.18), _CLOTH, sport=0.5, patterned=0.3),
        "sneakers": ProductType("shoes", 7, 85, (0.3, 0.3, 0.25, 0.15), _SHOE, sport=0.55, patterned=0.12),
        "boots": ProductType(
            "shoes", 4, 120, _ALL, {"leather": 5, "suede": 2, "rubber": 2}, winter=0.5, patterned=0.05
        ),
        "heels": ProductType("shoes", 3.5, 80, (1, 0, 0, 0), _SHOE, formal=0.45, patterned=0.12),
        "sandals": ProductType("shoes", 3, 45, (0.5, 0.25, 0.1, 0.15), _SHOE, sport=0.15, patterned=0.15),
        "loafers": ProductType("shoes", 3, 95, (0.3, 0.65, 0.05, 0), {"leather": 5, "suede": 3}, 0.65, patterned=0.05),
        "handbag": ProductType(
            "bags", 4.5, 90, (0.97, 0, 0.03, 0), {"leather": 4, "canvas": 2, "vegan leather": 2}, 0.15
        ),
        "backpack": ProductType(
            "bags", 4, 60, (0.15, 0.2, 0.45, 0.2), {"canvas": 4, "leather": 1, "polyester": 4}, 0, 0.4
        ),
        "watch": ProductType(
            "watches",
            4,
            140,
            (0.4, 0.45, 0.1, 0.05),
            {"leather": 3, "steel": 4, "rubber": 2},
            0.3,
            0.25,
            boxed=0.2,
            patterned=0.12,
        ),
        "sunglasses": ProductType("eyewear", 3, 70, (0.4, 0.35, 0.2, 0.05), {"acetate": 1}, sport=0.2, patterned=0.15),
        "belt": ProductType(
            "small",
            3,
            35,
            (0.3, 0.6, 0.1, 0),
            {"leather": 5, "canvas": 2, "vegan leather": 2},
            0.35,
            boxed=0.1,
            patterned=0.2,
        ),
        "tie": ProductType(
            "small", 2, 30, (0, 0.97, 0, 0.03), {"silk": 3, "polyester": 2}, 0.95, boxed=0.25, patterned=0.6
        ),
        "scarf": ProductType(
            "small", 3, 32, (0.5, 0.2, 0.25, 0.05), {**_KNIT, "silk": 2}, winter=0.7, boxed=0.12, patterned=0.5
        ),
        "beanie": ProductType("hats", 2, 20, (0.25, 0.25, 0.3, 0.2), _KNIT, winter=0.97),
        "cap": ProductType("hats", 2, 22, (0.15, 0.35, 0.3, 0.2), {"cotton": 1}, sport=0.4, patterned=0.25),
        "mug": ProductType(
            "kitchen", 4, 14, NOBODY, {"stoneware": 3, "porcelain": 2, "enamel": 2}, boxed=0.2, patterned=0.5
        ),
        "teapot": ProductType("kitchen", 1.5, 38, NOBODY, {"porcelain": 2, "stoneware": 2, "cast iron": 2}, boxed=0.15),
        "wineglass": ProductType("kitchen", 1.5, 18, NOBODY, {"glass": 1}, boxed=0.3, patterned=0.1),
        "bottle": ProductType(
            "kitchen", 2.5, 25, NOBODY, {"steel": 3, "glass": 1, "plastic": 2}, sport=0.6, patterned=0.25
        ),
        "vase": ProductType(
            "decor", 2, 34, NOBODY, {"stoneware": 2, "glass": 2, "rattan": 1}, boxed=0.08, patterned=0.4
        ),
        "lamp": ProductType("decor", 2.5, 75, NOBODY, {"steel": 2, "porcelain": 1, "linen": 2}, patterned=0.3),
        "cushion": ProductType("decor", 3, 26, NOBODY, {"cotton": 3, "linen": 2, "wool": 1}, patterned=0.6),
        "candle": ProductType("decor", 2, 22, NOBODY, {"soy wax": 2, "paraffin": 2}, boxed=0.3, patterned=0.2),
        "teddy": ProductType("toys", 1.5, 24, (0, 0, 0, 1), {"plush": 1}, boxed=0.25, patterned=0.2),
        "perfume": ProductType("beauty", 0.8, 70, (0.6, 0.4, 0, 0), {"glass": 1}, boxed=0.35, patterned=0),
        "nailpolish": ProductType("beauty", 0.5, 9, (1, 0, 0, 0), {"glass": 1}, patterned=0),
        "powerbank": ProductType("tech", 0.5, 40, NOBODY, {"plastic": 1}, patterned=0.1),
    }
)

HUES: Mapping[str, Hue] = MappingProxyType(
    {
        "black": Hue((34, 34, 38), 18, "black"),
        "white": Hue((244, 242, 238), 10),
        "grey": Hue((142, 146, 152), 8),
        "red": Hue((198, 34, 44), 7, "red"),
        "burgundy": Hue((120, 24, 44), 3, "red"),
        "blue": Hue((48, 96, 190), 8, "blue"),
        "navy": Hue((28, 40, 84), 8, "blue"),
        "skyblue": Hue((140, 190, 230), 4, "blue"),
        "green": Hue((70, 130, 84), 7),
        "olive": Hue((112, 112, 64), 3),
        "brown": Hue((118, 76, 48), 9),
        "beige": Hue((214, 192, 160), 8),
        "pink": Hue((234, 156, 176), 6),
        "yellow": Hue((236, 194, 72), 5),
        "orange": Hue((232, 124, 48), 3),
        "purple": Hue((112, 68, 140), 4),
    }
)
BRANDS: tuple[tuple[str, float, float], ...] = (  # name, share of its products that are eco, price level
    ("Alder & Finch", 0.02, 1.1),
    ("Bellwood", 0.03, 1.2),
    ("Bluefin Supply", 0.1, 0.9),
    ("Brightmoor", 0.0, 0.75),
    ("Castellan", 0.0, 1.6),
    ("Dovetail", 0.15, 1.0),
    ("Fernhill", 0.55, 1.1),
    ("Glasshouse", 0.05, 1.0),
    ("Harrow Lane", 0.0, 1.0),
    ("Juno Park", 0.02, 0.85),
    ("Kestrel Works", 0.03, 1.0),
    ("Lumen & Oak", 0.3, 1.25),
    ("Mistral", 0.0, 1.5),
    ("Northbound", 0.1, 1.1),
    ("Pelican Yard", 0.0, 0.8),
    ("Quillon", 0.02, 0.9),
    ("Thistle & Co", 0.05, 1.0),
    ("Sable", 0.0, 1.3),
    ("Tern", 0.5, 0.95),
    ("Winterbourne", 0.05, 1.05),
)
MODELS = (
    *("Ada", "Arlo", "Basil", "Cleo", "Cora", "Dune", "Ezra", "Fable", "Gale", "Hollis", "Indigo", "Iris", "Jasper"),
    *("Juniper", "Kit", "Lark", "Linden", "Mara", "Milo", "Nell", "Nova", "Odell", "Opal", "Otis", "Pax", "Petra"),
    *("Quinn", "Remy", "River", "Rowan", "Rue", "Sage", "Sloane", "Sol", "Tansy", "Theo", "Vale", "Vesper", "Wren"),
)
PATTERN_WEIGHTS = {"striped": 9, "checked": 5, "dotted": 1.2, "floral": 4, "printed": 6}

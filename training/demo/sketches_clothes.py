"""Line drawings of the demo catalogue's clothes, as data."""

from __future__ import annotations

from collections.abc import Mapping

from training.demo.strokes import Stroke, both, disc, fill, half, line

_LONG_SLEEVES = ((50, 24), (42, 19), (31, 22), (20, 34), (11, 74), (20, 78), (30, 50), (30, 86), (50, 87))
_SHORT_SLEEVES = ((50, 27), (42, 21), (30, 24), (11, 42), (21, 54), (31, 46), (30, 86), (50, 87))
_LEGS = ((50, 14), (33, 14), (29, 52), (28, 90), (44, 90), (50, 46))
_BUTTONS = tuple(disc("white", 50, y, 1.3) for y in (36, 47, 58, 69, 80))
_COLLAR = both(fill("light", (50, 31), (42, 17), (36, 24), (44, 34), rounding=1))
_CUFFS = both(line("trim", 5, (10.5, 73), (20, 77)))
_HEM = line("trim", 5, (31, 85), (69, 85))
_NECK = line("trim", 3.5, (41, 21), (45, 27), (50, 29), (55, 27), (59, 21))

CLOTHES: Mapping[str, tuple[Stroke, ...]] = {
    "tshirt": (half("main", *_SHORT_SLEEVES), _NECK),
    "shirt": (half("main", *_LONG_SLEEVES), line("dark", 1.2, (50, 30), (50, 86)), *_BUTTONS, *_COLLAR),
    "polo": (half("main", *_SHORT_SLEEVES), line("dark", 4, (50, 28), (50, 48)), *_BUTTONS[:2], *_COLLAR),
    "sweater": (half("main", *_LONG_SLEEVES), *_CUFFS, _HEM, _NECK),
    "hoodie": (
        half("dark", (50, 8), (37, 11), (34, 27), (50, 34)),
        half("main", *_LONG_SLEEVES),
        fill("dark", (43, 22), (50, 16), (57, 22), (50, 33)),
        *both(line("white", 1.5, (46, 28), (45, 44))),
        half("dark", (50, 60), (40, 60), (35, 75), (50, 76), rounding=1),
        *_CUFFS,
        _HEM,
    ),
    "jacket": (
        half("main", *_LONG_SLEEVES),
        half("dark", (50, 27), (43, 17), (36, 22), (43, 30), (50, 34), rounding=1),
        line("metal", 2.2, (50, 30), (50, 86)),
        *both(line("dark", 2, (35, 62), (42, 68))),
        *both(line("dark", 3, (11, 72), (20, 76))),
    ),
    "jacket/formal": (
        half("main", *_LONG_SLEEVES),
        fill("white", (44, 20), (56, 20), (50, 54), rounding=0),
        fill("trim", (48.5, 24), (51.5, 24), (53, 44), (50, 51), (47, 44), rounding=0),
        *both(fill("dark", (43, 18), (37, 27), (40, 36), (50, 56), rounding=1)),
        line("dark", 1.2, (50, 56), (50, 86)),
        disc("ink", 52.5, 61, 1.4),
        disc("ink", 52.5, 70, 1.4),
    ),
    "jacket/winter": (
        half("dark", (50, 8), (38, 10), (33, 27), (50, 36)),
        half("main", *_LONG_SLEEVES),
        *(line("dark", 1.5, (31, y), (50, y + 2), (69, y)) for y in (42, 53, 64, 75)),
        *both(line("dark", 1.2, (18, 50), (27, 53))),
        *both(line("dark", 1.2, (15, 61), (24, 64))),
        line("metal", 2.2, (50, 32), (50, 86)),
        line("cream", 7, (38, 26), (35, 14), (50, 7), (65, 14), (62, 26), (50, 32), (38, 26)),
    ),
    "dress": (
        half("main", (50, 25), (44, 15), (38, 14), (36, 30), (40, 45), (22, 88), (50, 91)),
        line("trim", 3.5, (40, 45), (50, 47), (60, 45)),
        *both(line("dark", 1, (45, 50), (38, 86))),
    ),
    "jeans": (
        half("main", *_LEGS, rounding=0),
        line("dark", 4, (33.5, 16), (66.5, 16)),
        disc("metal", 50, 16, 1.6),
        line("dark", 1.2, (50, 18), (50, 45)),
        *both(line("thread", 1, (35, 26), (41, 24), (42, 18))),
        *both(line("thread", 1, (31, 50), (30, 88))),
        *both(line("thread", 2, (29, 88), (44, 88))),
    ),
    "trousers": (
        half("main", *_LEGS, rounding=0),
        line("light", 4, (33.5, 16), (66.5, 16)),
        *both(line("dark", 1, (38, 24), (36, 88))),
        *both(line("dark", 1.2, (35, 22), (33, 32))),
    ),
    "skirt": (
        half("main", (50, 24), (37, 24), (23, 78), (50, 83)),
        line("trim", 4, (37, 25), (63, 25)),
        *both(line("dark", 1, (45, 30), (38, 79))),
        line("dark", 1, (50, 30), (50, 81)),
    ),
    "shorts": (
        half("main", (50, 26), (31, 26), (23, 68), (45, 71), (50, 52), rounding=0),
        line("light", 5, (31, 28), (69, 28)),
        *both(line("white", 1.3, (47, 29), (46, 38))),
    ),
    "shorts/sport": (
        half("main", (50, 26), (31, 26), (23, 68), (45, 71), (50, 52), rounding=0),
        line("light", 5, (31, 28), (69, 28)),
        *both(line("white", 2.5, (33, 32), (27, 67))),
    ),
}

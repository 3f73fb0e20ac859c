"""Line drawings of the demo catalogue's products, as data.

Colours and patterns are left to `training.demo.pictures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from training.demo.strokes import Stroke, both, box, disc, fill, half, line

_LONG_SLEEVES = ((50, 24), (42, 19), (31, 22), (20, 34), (11, 74), (20, 78), (30, 50), (30, 86), (50, 87))
_SHORT_SLEEVES = ((50, 27), (42, 21), (30, 24), (11, 42), (21, 54), (31, 46), (30, 86), (50, 87))
_LEGS = ((50, 14), (33, 14), (29, 52), (28, 90), (44, 90), (50, 46))
_BUTTONS = tuple(disc("white", 50, y, 1.3) for y in (36, 47, 58, 69, 80))
_COLLAR = both(fill("light", (50, 31), (42, 17), (36, 24), (44, 34), rounding=1))
_CUFFS = both(line("trim", 5, (10.5, 73), (20, 77)))
_HEM = line("trim", 5, (31, 85), (69, 85))
_NECK = line("trim", 3.5, (41, 21), (45, 27), (50, 29), (55, 27), (59, 21))
_FLAT_SOLE = fill("ink", (10, 67), (91, 67), (92, 73), (88, 76), (12, 76), rounding=1)
_POM_POMS = tuple(disc("cream", x, 17 + (x % 3), 5.5) for x in (29, 36, 43, 50, 57))

SKETCHES: Mapping[str, tuple[Stroke, ...]] = MappingProxyType(
    {
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
        "sneakers": (
            fill("main", (12, 70), (13, 42), (22, 38), (34, 46), (43, 30), (51, 35), (64, 50), (84, 55), (92, 70)),
            fill("light", (70, 68), (74, 54), (86, 57), (91, 68)),
            fill("white", (10, 66), (92, 66), (94, 73), (88, 78), (14, 78), (9, 73), rounding=1),
            *(line("white", 2, (42 + 5 * k, 44 + 5 * k), (50 + 5 * k, 38 + 5 * k)) for k in range(3)),
            line("trim", 3, (16, 44), (22, 54), (18, 64)),
        ),
        "sneakers/sport": (
            fill("main", (12, 70), (12, 44), (22, 36), (34, 46), (43, 32), (51, 37), (66, 52), (86, 56), (94, 70)),
            fill("white", (8, 66), (94, 66), (96, 72), (88, 76), (34, 79), (12, 80), (6, 74), rounding=1),
            line("trim", 2, (12, 75), (88, 73)),
            *(line("white", 3, (34 + 7 * k, 64), (44 + 7 * k, 48 + 3 * k)) for k in range(3)),
            *(line("trim", 1.6, (44 + 5 * k, 42 + 5 * k), (51 + 5 * k, 38 + 5 * k)) for k in range(3)),
        ),
        "boots": (
            fill("main", (31, 14), (57, 14), (56, 52), (70, 56), (88, 64), (89, 77), (30, 77)),
            fill("ink", (28, 76), (90, 76), (91, 82), (58, 82), (54, 80), (48, 80), (48, 85), (28, 85), rounding=1),
            *(line("cream", 1.6, (46, y), (57, y - 2)) for y in (28, 36, 44, 52)),
            line("dark", 1.5, (32, 56), (44, 62), (56, 60)),
        ),
        "boots/winter": (
            fill("main", (31, 16), (57, 16), (56, 52), (70, 56), (88, 64), (89, 77), (30, 77)),
            fill("ink", (28, 75), (90, 75), (91, 83), (28, 84), rounding=1),
            line("light", 2, (31, 38), (57, 38)),
            line("light", 2, (31, 56), (58, 56)),
            *_POM_POMS,
        ),
        "heels": (
            fill("dark", (14, 46), (27, 56), (22, 87), (17, 87), rounding=1),
            fill(
                "main",
                (14, 36),
                (22, 32),
                (36, 50),
                (52, 60),
                (70, 58),
                (92, 72),
                (89, 79),
                (58, 79),
                (36, 66),
                (15, 55),
            ),
            line("ink", 2, (30, 64), (56, 79), (89, 79)),
            line("light", 1.5, (24, 40), (38, 55), (52, 63)),
        ),
        "sandals": (
            fill("wood", (8, 68), (90, 68), (93, 74), (88, 78), (12, 78), rounding=2),
            line("main", 8, (56, 70), (66, 54), (74, 53), (84, 70)),
            line("main", 6, (18, 70), (24, 48), (34, 46), (44, 70)),
            line("main", 4, (20, 46), (32, 58), (58, 62)),
            disc("metal", 28, 49, 2.5),
        ),
        "loafers": (
            fill("main", (11, 71), (12, 46), (24, 42), (38, 50), (54, 47), (76, 54), (91, 66), (91, 71)),
            _FLAT_SOLE,
            box("ink", 11, 73, 28, 80, rounding=0),
            line("dark", 5, (52, 50), (50, 64)),
            line("metal", 2, (50, 55), (56, 57)),
            line("light", 1.5, (60, 52), (76, 58), (86, 66)),
        ),
        "handbag": (
            line("dark", 4, (34, 46), (35, 24), (50, 14), (65, 24), (66, 46)),
            fill("main", (24, 42), (76, 42), (86, 84), (14, 84), rounding=1),
            fill("dark", (25, 42), (75, 42), (66, 60), (34, 60)),
            disc("metal", 50, 58, 3.2),
        ),
        "backpack": (
            line("dark", 4, (42, 22), (44, 11), (56, 11), (58, 22)),
            *both(fill("dark", (32, 36), (24, 44), (22, 78), (30, 82))),
            fill("main", (28, 88), (27, 34), (38, 19), (62, 19), (73, 34), (72, 88)),
            half("light", (50, 56), (36, 56), (35, 82), (50, 82), rounding=1),
            line("metal", 1.6, (36, 61), (64, 61)),
            line("trim", 1.8, (32, 40), (50, 44), (68, 40)),
        ),
        "watch": (
            half("main", (50, 5), (42, 5), (39, 34), (39, 66), (42, 95), (50, 95), rounding=1),
            box("metal", 71, 47, 77, 53, rounding=0),
            disc("metal", 50, 50, 23),
            disc("dial", 50, 50, 18.5),
            *(
                line("hand", 1.3, (50 + 14 * a, 50 + 14 * b), (50 + 17 * a, 50 + 17 * b))
                for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
            ),
            line("hand", 2.2, (50, 50), (43, 43)),
            line("hand", 1.6, (50, 50), (60, 42)),
        ),
        "sunglasses": (
            *both(line("main", 3.5, (14, 42), (10, 34), (24, 26))),
            *both(fill("main", (11, 38), (47, 38), (46, 58), (36, 68), (20, 66), (12, 56))),
            *both(fill("lens", (16, 43), (43, 43), (42, 56), (34, 63), (22, 61), (17, 54))),
            line("main", 4.5, (44, 43), (50, 40), (56, 43)),
            *both(line("shine", 2, (22, 56), (30, 46))),
        ),
        "belt": (
            disc("main", 50, 54, 38, 25),
            disc("none", 50, 51, 30, 17),
            disc("dark", 50, 48, 29, 13),
            disc("none", 50, 51, 28, 13),
            box("metal", 40, 64, 62, 84),
            box("main", 45, 69, 57, 79, rounding=0),
            line("metal", 2, (42, 74), (56, 74)),
        ),
        "tie": (
            half("main", (50, 22), (46, 22), (38, 76), (50, 93), rounding=0),
            half("dark", (50, 8), (41, 9), (46, 24), (50, 25), rounding=1),
        ),
        "scarf": (
            fill("main", (52, 36), (66, 34), (74, 88), (58, 90)),
            fill("main", (34, 36), (50, 40), (46, 82), (28, 80)),
            *(line("trim", 1.5, (x, 79 + (x - 29) / 8), (x - 1, 88)) for x in (30, 34, 38, 42, 45)),
            *(line("trim", 1.5, (x, 87), (x + 1, 95)) for x in (60, 64, 68, 72)),
            fill("main", (28, 22), (50, 16), (72, 22), (76, 36), (50, 48), (24, 36)),
            line("dark", 1.5, (30, 30), (50, 38), (70, 30)),
        ),
        "beanie": (
            disc("trim", 50, 17, 9),
            half("main", (50, 22), (30, 26), (20, 50), (20, 68), (50, 70)),
            half("light", (50, 60), (18, 58), (18, 76), (50, 79), rounding=1),
            *(line("dark", 1, (x, 61), (x, 77)) for x in (26, 34, 42, 50, 58, 66, 74)),
        ),
        "cap": (
            fill("main", (18, 64), (20, 36), (42, 22), (62, 28), (72, 46), (72, 64), rounding=2),
            fill("dark", (54, 60), (74, 56), (94, 68), (92, 73), (70, 68), (54, 66)),
            line("dark", 1.2, (43, 25), (52, 44), (54, 62)),
            disc("trim", 43, 24, 2.5),
        ),
        "mug": (
            line("main", 7, (66, 40), (84, 38), (86, 62), (66, 70)),
            fill("main", (24, 30), (68, 30), (66, 84), (26, 84), rounding=1),
            disc("light", 46, 30, 22, 6),
            disc("coffee", 46, 31, 19, 4.3),
        ),
        "vase": (
            line("leaf", 1.8, (50, 34), (44, 14)),
            line("leaf", 1.8, (50, 34), (60, 16)),
            line("leaf", 1.8, (50, 34), (52, 8)),
            *(disc("trim", x, y, 5) for x, y in ((43, 13), (61, 15), (52, 8))),
            *(disc("thread", x, y, 1.8) for x, y in ((43, 13), (61, 15), (52, 8))),
            half("main", (50, 32), (40, 32), (45, 46), (26, 64), (35, 91), (50, 92)),
            line("light", 1.8, (35, 62), (34, 74)),
        ),
        "lamp": (
            half("glow", (50, 50), (26, 50), (16, 72), (50, 76), rounding=0),
            box("metal", 48, 50, 52, 86, rounding=0),
            half("dark", (50, 83), (38, 84), (34, 91), (50, 92), rounding=1),
            half("main", (50, 14), (38, 14), (22, 54), (50, 58), rounding=1),
            line("metal", 1, (60, 56), (60, 68)),
        ),
        "cushion": (
            fill("main", (14, 20), (50, 27), (86, 20), (80, 50), (86, 82), (50, 76), (14, 82), (20, 50)),
            line("trim", 1.6, (22, 28), (50, 32), (78, 28), (74, 50), (78, 75), (50, 71), (22, 75), (26, 50), (22, 28)),
        ),
        "candle": (
            fill("flame", (50, 10), (44, 24), (50, 32), (56, 24)),
            line("ink", 1.5, (50, 28), (50, 42)),
            box("main", 30, 40, 70, 86),
            disc("light", 50, 41, 19, 4),
            box("white", 37, 55, 63, 72, rounding=0),
            line("metal", 1.2, (42, 61), (58, 61)),
            line("metal", 1.2, (45, 66), (55, 66)),
        ),
        "teapot": (
            line("main", 6, (28, 46), (10, 44), (10, 66), (28, 70)),
            fill("main", (66, 66), (76, 46), (92, 36), (94, 42), (84, 52), (74, 76)),
            disc("main", 48, 60, 28, 24),
            half("light", (48, 32), (38, 34), (34, 40), (48, 43), rounding=1),
            disc("trim", 49, 30, 4),
            line("dark", 1.4, (30, 42), (48, 46), (66, 42)),
        ),
        "wineglass": (
            half("glass", (50, 12), (32, 12), (28, 36), (40, 54), (50, 56)),
            half("main", (50, 32), (30, 32), (33, 46), (42, 53), (50, 55)),
            box("glass", 48.5, 54, 51.5, 84, rounding=0),
            half("glass", (50, 83), (34, 86), (34, 90), (50, 91)),
            line("shine", 2, (36, 18), (34, 30)),
        ),
        "bottle": (
            box("ink", 42, 8, 58, 20),
            half("main", (50, 18), (41, 19), (33, 32), (33, 90), (50, 91)),
            line("trim", 5, (34, 48), (66, 48)),
            line("light", 2.5, (39, 36), (39, 84)),
            line("metal", 2, (42, 21), (58, 21)),
        ),
        "perfume": (
            box("metal", 42, 12, 58, 32),
            box("glass", 26, 34, 74, 88),
            box("main", 30, 48, 70, 84),
            box("white", 38, 56, 62, 72, rounding=0),
            line("ink", 1.2, (43, 62), (57, 62)),
            line("ink", 1.2, (46, 67), (54, 67)),
            line("shine", 2, (31, 40), (31, 80)),
        ),
        "nailpolish": (
            half("ink", (50, 8), (44, 9), (42, 48), (50, 49), rounding=1),
            half("main", (50, 48), (38, 50), (30, 62), (32, 88), (50, 90)),
            line("shine", 2.5, (37, 62), (37, 80)),
        ),
        "powerbank": (
            line("ink", 2.5, (50, 16), (50, 6), (72, 6), (80, 18)),
            box("main", 28, 16, 72, 90),
            *(disc("led", 36 + 5 * k, 82, 1.5) for k in range(4)),
            fill("trim", (54, 32), (40, 56), (49, 56), (46, 74), (60, 48), (51, 48), rounding=0),
        ),
        "teddy": (
            *both(disc("main", 31, 18, 9)),
            *both(disc("light", 31, 18, 5)),
            *both(disc("main", 26, 60, 9, 14)),
            *both(disc("main", 34, 84, 11, 9)),
            disc("main", 50, 66, 23, 22),
            disc("light", 50, 68, 13, 13),
            disc("main", 50, 32, 22, 20),
            disc("cream", 50, 40, 9, 7),
            *both(disc("ink", 42, 29, 2.2)),
            disc("ink", 50, 37, 3, 2),
            line("ink", 1.2, (46, 43), (50, 45), (54, 43)),
            *both(fill("trim", (50, 53), (38, 48), (38, 59), rounding=0)),
        ),
    }
)

BOW = (
    line("ribbon", 2.5, (80, 86), (74, 97)),
    line("ribbon", 2.5, (80, 86), (87, 97)),
    fill("ribbon", (80, 85), (66, 74), (66, 94), rounding=1),
    fill("ribbon", (80, 85), (94, 74), (94, 94), rounding=1),
    disc("ribbon", 80, 85, 4),
)

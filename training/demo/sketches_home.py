"""Line drawings of the demo catalogue's things for the home and the bathroom, and its toys, as data."""

from __future__ import annotations

from collections.abc import Mapping

from training.demo.strokes import Stroke, both, box, disc, fill, half, line

HOME: Mapping[str, tuple[Stroke, ...]] = {
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

"""Line drawings of the demo catalogue's products, as data.

Colours and patterns are left to `training.demo.pictures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from training.demo.sketches_clothes import CLOTHES
from training.demo.sketches_home import HOME
from training.demo.sketches_worn import WORN
from training.demo.strokes import Stroke, disc, fill, line

SKETCHES: Mapping[str, tuple[Stroke, ...]] = MappingProxyType({**CLOTHES, **WORN, **HOME})

BOW = (
    line("ribbon", 2.5, (80, 86), (74, 97)),
    line("ribbon", 2.5, (80, 86), (87, 97)),
    fill("ribbon", (80, 85), (66, 74), (66, 94), rounding=1),
    fill("ribbon", (80, 85), (94, 74), (94, 94), rounding=1),
    disc("ribbon", 80, 85, 4),
)

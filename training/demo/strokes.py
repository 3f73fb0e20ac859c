"""What the demo catalogue's drawings are made of: filled shapes and lines on a square of 100 by 100, y downwards.

Which strokes make which product is left to `training.demo.sketches`, paint to `training.demo.pictures`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Stroke:
    """A closed shape filled with the paint of its role, or, with a width, a line."""

    role: str  # "main" is filled with the product's pattern; `training.demo.pictures.paints` names the others
    points: tuple[Point, ...]
    width: float = 0.0  # 0 for a filled shape
    rounding: int = 2  # how often corners are cut


def fill(role: str, *points: Point, rounding: int = 2) -> Stroke:
    """Return a closed shape."""
    return Stroke(role, points, rounding=rounding)


def half(role: str, *points: Point, rounding: int = 2) -> Stroke:
    """Return a closed shape of which the left half is given, from its top to its bottom."""
    mirrored = tuple((100 - x, y) for x, y in reversed(points) if x != 50)
    return Stroke(role, points + mirrored, rounding=rounding)


def line(role: str, width: float, *points: Point) -> Stroke:
    """Return an open line."""
    return Stroke(role, points, width)


def disc(role: str, x: float, y: float, radius: float, height: float | None = None) -> Stroke:
    """Return an ellipse around (x, y), by default a circle."""
    turns = [2 * math.pi * step / 24 for step in range(24)]
    tall = radius if height is None else height
    return Stroke(role, tuple((x + radius * math.cos(t), y + tall * math.sin(t)) for t in turns), rounding=0)


def box(role: str, left: float, top: float, right: float, bottom: float, *, rounding: int = 1) -> Stroke:
    """Return a rectangle, its corners rounded."""
    cut = min(right - left, bottom - top) * 0.15 if rounding else 0.0
    corners = ((left, top, 1, 1), (right, top, -1, 1), (right, bottom, -1, -1), (left, bottom, 1, -1))
    points: list[Point] = []
    for x, y, dx, dy in corners:
        first, second = (x, y + cut * dy), (x + cut * dx, y)
        points += [first, second] if dx == dy else [second, first]
    return Stroke(role, tuple(points) if cut else tuple((x, y) for x, y, _, _ in corners), rounding=rounding)


def both(stroke: Stroke) -> tuple[Stroke, Stroke]:
    """Return a stroke and its mirror image."""
    return stroke, Stroke(
        stroke.role, tuple((100 - x, y) for x, y in stroke.points), stroke.width, rounding=stroke.rounding
    )

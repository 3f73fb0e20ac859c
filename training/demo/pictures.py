"""Photographs of the demo catalogue: sketches painted, lit, turned a little and set on a shop's background.

Which product gets which look is left to `training.demo.products`.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.demo.sketches import BOW, SKETCHES
from training.demo.strokes import Point, Stroke

SIZE = 80  # pixels a side of a picture
SCALE = 2  # a drawing is this many times larger, so that its edges come out smooth
CANVAS = SIZE * SCALE
QUALITY = 85  # JPEG

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """All that can be seen of a product."""

    sketch: str
    main: Colour
    trim: Colour
    pattern: str  # a key of `PATTERNS`
    size: float = 1.0  # against an adult's
    width: float = 1.0  # against a man's
    boxed: bool = False  # with a ribbon


def photograph(look: Look, *, backdrop: int, rng: Random) -> bytes:
    """Draw one product: a JPEG of SIZE by SIZE pixels.

    Parameters
    ----------
    backdrop : index of the shop's style of background, from 0; any is valid
    """
    layer = _drawing(look, rng)
    turned = _turned(layer, look, rng).reduce(SCALE)
    picture = _background(backdrop, rng)
    _cast_shadow(picture, turned)
    picture.paste(turned, mask=turned)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share, in [0, 1], of another."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def paints(look: Look, rng: Random) -> dict[str, tuple[int, ...]]:
    """Colour of every role that a sketch can name, but "main"."""
    dark_dial = rng.random() < 0.4
    return {
        "trim": look.trim,
        "dark": mixed(look.main, (0, 0, 0), 0.35),
        "light": mixed(look.main, (255, 255, 255), 0.35),
        "metal": rng.choice([(186, 190, 198), (204, 170, 96), (170, 174, 180)]),
        "dial": (38, 40, 48) if dark_dial else (247, 246, 240),
        "hand": (235, 235, 235) if dark_dial else (40, 40, 45),
        "ribbon": rng.choice([(200, 30, 50), (212, 175, 55), (120, 40, 130)]),
        "glass": (206, 226, 234, 150),
        "glow": (255, 236, 170, 110),
        "none": (0, 0, 0, 0),
        **_FIXED_PAINTS,
    }


_FIXED_PAINTS: dict[str, tuple[int, ...]] = {
    "white": (250, 250, 248),
    "cream": (240, 230, 210),
    "ink": (42, 42, 48),
    "lens": (48, 50, 60),
    "shine": (255, 255, 255),
    "wood": (186, 138, 92),
    "thread": (222, 170, 80),
    "leaf": (84, 140, 78),
    "flame": (255, 190, 70),
    "coffee": (92, 58, 38),
    "led": (120, 240, 140),
}


def _drawing(look: Look, rng: Random) -> Image.Image:
    """A product on a transparent canvas, lit from the upper left."""
    layer = Image.new("RGBA", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(layer)
    fabric = PATTERNS[look.pattern](look.main, look.trim, rng)
    colours = paints(look, rng)
    outline = mixed(look.main, (0, 0, 0), 0.45)
    for stroke in SKETCHES[look.sketch] + (BOW if look.boxed else ()):
        if stroke.role == "main":
            _paint_fabric(layer, draw, stroke, fabric, outline)
        else:
            _paint(draw, stroke, colours[stroke.role])
    lit = ImageChops.multiply(layer.convert("RGB"), _light())
    lit.putalpha(layer.getchannel("A"))
    return lit


def _paint_fabric(
    layer: Image.Image, draw: ImageDraw.ImageDraw, stroke: Stroke, fabric: Image.Image, outline: Colour
) -> None:
    mask = Image.new("L", (CANVAS, CANVAS))
    _paint(ImageDraw.Draw(mask), stroke, 255)
    layer.paste(fabric, mask=mask)
    if not stroke.width:
        points = _pixels(stroke.points, stroke.rounding)
        draw.line([*points, points[0]], fill=outline, width=2)


def _paint(draw: ImageDraw.ImageDraw, stroke: Stroke, colour: int | tuple[int, ...]) -> None:
    if stroke.width:
        points = _pixels(stroke.points, 0)
        width = round(stroke.width * CANVAS / 100)
        draw.line(points, fill=colour, width=width, joint="curve")
    else:
        points = _pixels(stroke.points, stroke.rounding)
        draw.polygon(points, fill=colour)


@functools.cache
def _pixels(points: tuple[Point, ...], rounding: int) -> list[Point]:
    """Points on the canvas, corners cut as often as `rounding` says (Chaikin 1974)."""
    for _ in range(rounding):
        pairs = zip(points, points[1:] + points[:1], strict=True)
        points = tuple(
            (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share) for a, b in pairs for share in (0.2, 0.8)
        )
    return [(x * CANVAS / 100, y * CANVAS / 100) for x, y in points]


@functools.cache
def _light() -> Image.Image:
    ramp = Image.linear_gradient("L").rotate(25, resample=Image.Resampling.BILINEAR, fillcolor=128)
    softened = ramp.resize((CANVAS, CANVAS)).point(lambda level: 255 - level // 5)
    return Image.merge("RGB", [softened] * 3)


def _turned(layer: Image.Image, look: Look, rng: Random) -> Image.Image:
    """The drawing turned by some degrees, scaled and moved a little."""
    angle = math.radians(rng.gauss(0, 5))
    scale_x = look.size * look.width * rng.uniform(0.86, 1.0)
    scale_y = look.size * rng.uniform(0.86, 1.0)
    shift_x, shift_y = rng.uniform(-0.03, 0.03) * CANVAS, rng.uniform(-0.03, 0.03) * CANVAS
    mirrored = -1 if rng.random() < 0.3 else 1
    a, b = math.cos(angle) / scale_x * mirrored, math.sin(angle) / scale_x * mirrored
    d, e = -math.sin(angle) / scale_y, math.cos(angle) / scale_y
    middle = CANVAS / 2
    c = middle - a * (middle + shift_x) - b * (middle + shift_y)
    f = middle - d * (middle + shift_x) - e * (middle + shift_y)
    return layer.transform(layer.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)


def _background(backdrop: int, rng: Random) -> Image.Image:
    """White, tinted paper, a studio's gradient, or a table before a wall."""
    style = backdrop % 4
    tone = rng.choice([(236, 229, 220), (226, 232, 238), (240, 226, 226), (226, 236, 226), (232, 228, 240)])
    paper = (255, 255, 255) if style == 0 else mixed((255, 255, 255), tone, rng.uniform(0.3, 1.0))
    picture = Image.new("RGB", (SIZE, SIZE), paper)
    if style == 2:
        picture.paste(mixed(paper, (0, 0, 0), 0.16), mask=Image.linear_gradient("L").resize((SIZE, SIZE)))
    if style == 3:
        table = rng.choice([(214, 188, 156), (196, 176, 160), (206, 206, 204)])
        picture.paste(table, (0, round(SIZE * rng.uniform(0.68, 0.78)), SIZE, SIZE))
    return picture


def _cast_shadow(picture: Image.Image, product: Image.Image) -> None:
    alpha = product.getchannel("A").point(lambda level: level // 4)
    shadow = ImageChops.offset(alpha, 2, 3).filter(ImageFilter.BoxBlur(2))
    picture.paste((30, 30, 40), mask=shadow)


def _plain(main: Colour, _trim: Colour, _rng: Random) -> Image.Image:
    return Image.new("RGB", (CANVAS, CANVAS), main)


def _striped(main: Colour, trim: Colour, rng: Random) -> Image.Image:
    cloth = _plain(main, trim, rng)
    draw = ImageDraw.Draw(cloth)
    period = rng.choice([11, 14, 18, 23])
    thickness = max(3, round(period * rng.choice([0.3, 0.4, 0.5])))
    for start in range(rng.randrange(period), CANVAS, period):
        draw.rectangle((0, start, CANVAS, start + thickness - 1), fill=trim)
    angle = rng.choice([0, 0, 0, 90, 90, 45])
    return cloth.rotate(angle, resample=Image.Resampling.NEAREST, fillcolor=main) if angle else cloth


def _checked(main: Colour, trim: Colour, rng: Random) -> Image.Image:
    cloth = _plain(main, trim, rng)
    period = rng.choice([18, 22, 28])
    for turn in range(2):
        band = Image.new("L", (CANVAS, CANVAS))
        draw = ImageDraw.Draw(band)
        for start in range(rng.randrange(period), CANVAS, period):
            box = (0, start, CANVAS, start + period // 2) if turn else (start, 0, start + period // 2, CANVAS)
            draw.rectangle(box, fill=110)
        cloth.paste(trim, mask=band)
    return cloth


def _dotted(main: Colour, trim: Colour, rng: Random) -> Image.Image:
    cloth = _plain(main, trim, rng)
    draw = ImageDraw.Draw(cloth)
    step, radius = rng.choice([(14, 3), (18, 5), (20, 5)])
    for row, y in enumerate(range(0, CANVAS + step, step)):
        for x in range(-(row % 2) * step // 2, CANVAS + step, step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=trim)
    return cloth


def _floral(main: Colour, trim: Colour, rng: Random) -> Image.Image:
    cloth = _plain(main, trim, rng)
    draw = ImageDraw.Draw(cloth)
    for column, row in itertools.product(range(6), range(6)):
        x, y = column * 28 + rng.uniform(0, 18), row * 28 + rng.uniform(0, 18)
        for petal in range(5):
            angle = petal * 2 * math.pi / 5
            px, py = x + 4 * math.cos(angle), y + 4 * math.sin(angle)
            draw.ellipse((px - 3.4, py - 3.4, px + 3.4, py + 3.4), fill=trim)
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(240, 200, 80))
    return cloth


def _printed(main: Colour, trim: Colour, rng: Random) -> Image.Image:
    """One motif in the middle: a star, a sun, a heart or a mountain."""
    cloth = _plain(main, trim, rng)
    draw = ImageDraw.Draw(cloth)
    x, y, radius = CANVAS * 0.5, CANVAS * 0.55, CANVAS * rng.uniform(0.09, 0.13)
    motif = rng.randrange(4)
    if motif == 0:
        draw.regular_polygon((x, y, radius), 3, rotation=rng.randrange(60), fill=trim)
        draw.regular_polygon((x, y, radius), 3, rotation=60 + rng.randrange(60), fill=trim)
    elif motif == 1:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=trim)
    elif motif == 2:
        for side in (-1, 1):
            cx = x + side * radius * 0.48
            draw.ellipse((cx - radius * 0.55, y - radius, cx + radius * 0.55, y + radius * 0.1), fill=trim)
        draw.polygon([(x - radius, y - radius * 0.3), (x + radius, y - radius * 0.3), (x, y + radius)], fill=trim)
    else:
        draw.polygon([(x - 1.4 * radius, y + radius), (x, y - radius), (x + 1.4 * radius, y + radius)], fill=trim)
    return cloth


PATTERNS = {
    "plain": _plain,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "floral": _floral,
    "printed": _printed,
}

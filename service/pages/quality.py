"""The page of live quality: a table of all classes with their course over time, drawn as SVG inside the page.

No script and no style of its own: shapes get their colours from the pages' one style sheet.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from service.pages.render import Markup, filled, framed
from service.quality.live_quality import Estimate, LiveQuality
from service.quality.quality_course import QualityCourse, Stretch

SMALL, LARGE = (150, 34), (720, 220)  # width and height of a drawing
MARGIN = 4
NOTHING_YET = (
    '<p class="faint">Nothing to draw yet: a cohort of traffic has to be sealed, and people have to '
    'answer its questions at <a href="/label">/label</a>.</p>'
)


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a drawing puts its points."""

    width: int
    height: int
    n_points: int

    def x(self, index: int) -> float:
        """Centre of a stretch's column."""
        return round(MARGIN + (self.width - 2 * MARGIN) * (index + 0.5) / max(self.n_points, 1), 1)

    def y(self, rate: float) -> float:
        """Height of a rate; 1 is on top."""
        return round(MARGIN + (self.height - 2 * MARGIN) * (1.0 - rate), 1)


def quality_page(course: QualityCourse) -> str:
    """Precision and recall of what is served, in all, per class and over time."""
    now = course.now
    content = filled(
        "quality.html",
        version=course.version,
        n_cohorts=str(course.n_cohorts),
        n_products=f"{now.n_products:,}",
        n_answers=f"{now.n_answers:,}",
        precision=_in_words(now.macro_precision),
        recall=_in_words(now.macro_recall),
        check=_check(now),
        macro_precision=Markup(_over_time([one.quality.macro_precision for one in course.stretches])),
        macro_recall=Markup(_over_time([one.quality.macro_recall for one in course.stretches])),
        stretches=Markup("\n".join(map(_stretch_row, course.stretches))),
        classes=Markup("\n".join(_class_row(course, index) for index in range(len(course.classes)))),
    )
    return framed("Winnow: live quality", content)


def _over_time(estimates: Sequence[Estimate]) -> str:
    return _drawn(estimates, LARGE) if estimates else NOTHING_YET


def _class_row(course: QualityCourse, index: int) -> str:
    quality = course.now.classes[index]
    over_time = [one.quality.classes[index] for one in course.stretches]
    cells = [
        html.escape(course.classes[index]),
        _in_words(quality.precision),
        _drawn([one.precision for one in over_time], SMALL),
        _in_words(quality.recall),
        _drawn([one.recall for one in over_time], SMALL),
        f"{quality.n_answers:,}",
        f"{quality.effective_sample_size:.1f}",
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _stretch_row(one: Stretch) -> str:
    cells = [
        f"{one.since:%Y-%m-%d %H:%M} to {one.until:%Y-%m-%d %H:%M}",
        html.escape(one.version),
        f"{one.quality.n_answers:,}",
        _in_words(one.quality.macro_precision),
        _in_words(one.quality.macro_recall),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _in_words(estimate: Estimate) -> str:
    if estimate.value is None or not estimate.sufficient:
        return "insufficient"
    return f"{estimate.value:.3f} ({estimate.lower:.3f} to {estimate.upper:.3f})"


def _check(quality: LiveQuality) -> str:
    check = quality.self_check
    word = "off: the estimates cannot be trusted" if check.alarming else "fine"
    return f"{word} (z {check.products_z:+.1f} for products, {check.questions_z:+.1f} for questions)"


def _drawn(estimates: Sequence[Estimate], size: tuple[int, int]) -> str:
    """A line through the estimates and a bar for each interval; what is insufficient is drawn faintly."""
    box = _Box(*size, n_points=len(estimates))
    shapes = [
        f'<line class="grid" x1="{MARGIN}" x2="{box.width - MARGIN}" y1="{box.y(rate)}" y2="{box.y(rate)}"/>'
        for rate in (0.0, 0.5, 1.0)
    ]
    known = [(index, one) for index, one in enumerate(estimates) if one.value is not None]
    for index, one in known:
        css = "interval" if one.sufficient else "interval unsure"
        x = box.x(index)
        shapes.append(f'<line class="{css}" x1="{x}" x2="{x}" y1="{box.y(one.lower)}" y2="{box.y(one.upper)}"/>')
    points = [(box.x(index), box.y(one.value)) for index, one in known if one.sufficient and one.value is not None]
    if points:
        shapes.append(f'<polyline class="course" points="{" ".join(f"{x},{y}" for x, y in points)}"/>')
        shapes += [f'<circle class="point" cx="{x}" cy="{y}" r="2"/>' for x, y in points]
    frame = f'viewBox="0 0 {box.width} {box.height}" width="{box.width}" height="{box.height}"'
    return f'<svg class="plot" {frame} role="img">{"".join(shapes)}</svg>'

"""The plots of the reports, drawn once as inline SVG; the only file that knows matplotlib.

Names stay text, which the browser draws: no font here knows every script that a shop may name its classes in.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

INK, ACCENT, SOFT = "#2b2f36", "#0b7a75", "#9bb8b5"
MAX_CURVES = 6
STYLE: dict[Any, object] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "winnow",  # the same figures give the same file
    "svg.fonttype": "none",  # text stays text
}
WIDTH = 7.2  # inches
WIDE_SHORTFALL = 0.06  # inches that a full-width character is wider than the stand-in by which it is measured here


def per_class_ap(classes: Sequence[str], average_precision: NDArray[np.float64]) -> str:
    """Horizontal bars of average precision, best class on top."""
    order = np.argsort(np.nan_to_num(average_precision, nan=-1.0))
    figure, axes = _figure(height=1.0 + 0.2 * len(classes))
    axes.barh(range(len(order)), np.nan_to_num(average_precision[order]), color=ACCENT)
    _name_rows(figure, axes, [classes[index] for index in order])
    axes.set_xlim(0, 1)
    axes.set_xlabel("average precision")
    axes.margins(y=0.01)
    return _svg(figure)


def member_comparison(macro_ap: Mapping[str, float], rare_quarter_ap: Mapping[str, float]) -> str:
    """Macro and rare-quarter average precision of each member and the ensemble, side by side."""
    names = list(macro_ap)
    rows = np.arange(len(names))
    figure, axes = _figure(height=1.2 + 0.45 * len(names))
    axes.barh(rows - 0.2, [macro_ap[name] for name in names], height=0.38, color=ACCENT, label="all classes")
    axes.barh(rows + 0.2, [rare_quarter_ap[name] for name in names], height=0.38, color=SOFT, label="rarest quarter")
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("macro average precision")
    axes.legend(frameon=False, loc="lower left")
    return _svg(figure)


def precision_recall(
    classes: Sequence[str], probabilities: NDArray[np.float32], targets: NDArray[np.int8], shown: Sequence[int]
) -> str:
    """Precision against recall, for the classes at the indices `shown`."""
    figure, axes = _figure(height=3.6)
    for index in list(shown)[:MAX_CURVES]:
        known = targets[:, index] >= 0
        precision, recall, _ = precision_recall_curve(targets[known, index], probabilities[known, index])
        axes.plot(recall, precision, label=classes[index], linewidth=1.4)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    axes.legend(frameon=False, loc="lower left")
    return _svg(figure)


def reliability(curves: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Observed rate against mean prediction in bins of equal width; on the diagonal a probability means what it says.

    Parameters
    ----------
    curves : by name, mean prediction, observed rate and number of answers of each bin
    """
    figure, axes = _figure(height=3.6)
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
    for name, (predicted, observed, _) in curves.items():
        axes.plot(predicted, observed, marker="o", markersize=3, linewidth=1.4, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="observed rate")
    axes.legend(frameon=False, loc="upper left")
    return _svg(figure)


def training_curves(curves: Mapping[str, Sequence[float]]) -> str:
    """One line a member over the epochs."""
    figure, axes = _figure(height=3.2)
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, linewidth=1.4, label=name)
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def learning_curves(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
    *,
    target: float | None,
    cost_label: str,
    reference: str,
    shown: str,
) -> str:
    """One line a strategy over its cost; the reference is dashed, the one that is `shown` stands out.

    Parameters
    ----------
    curves : by name, cost, mean and standard deviation, each (n_rounds,); a band of one deviation while they are few,
        else of the reference and the one shown alone
    target : drawn as a level line where given
    """
    figure, axes = _figure(height=4.8)
    for index, (name, (cost, mean, deviation)) in enumerate(curves.items()):
        stands_out = name in {reference, shown}
        colour = {reference: INK, shown: ACCENT}.get(name, mpl.colormaps["tab20"](index % 20))
        style = "--" if name == reference else ("-", "-.")[index // 20 % 2]
        axes.plot(cost, mean, label=name, color=colour, linestyle=style, linewidth=2.2 if stands_out else 1.0)
        if stands_out or len(curves) <= MAX_CURVES:
            axes.fill_between(cost, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
    if target is not None:
        axes.axhline(target, color=SOFT, linewidth=1)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.set_xlim(left=0.0)
    axes.set_xlabel(cost_label)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def intervals(names: Sequence[str], values: Sequence[tuple[float, float, float]], *, x_label: str) -> str:
    """One row a name: a point and its interval (value, lower, upper), the lowest value at the bottom; 0 is marked."""
    order = sorted(range(len(names)), key=lambda row: values[row][0])
    value, lower, upper = np.array([values[row] for row in order], dtype=np.float64).T
    figure, axes = _figure(height=1.0 + 0.2 * len(names))
    spread = np.nan_to_num(np.stack([value - lower, upper - value]), nan=0.0, posinf=0.0)
    axes.errorbar(value, range(len(order)), xerr=np.maximum(spread, 0.0), fmt="o", color=ACCENT, markersize=3)
    axes.axvline(0.0, color=SOFT, linewidth=1)
    _name_rows(figure, axes, [names[row] for row in order])
    axes.set_xlabel(x_label)
    axes.margins(y=0.01)
    return _svg(figure)


def rounds(x: Sequence[float], lines: Mapping[str, Sequence[float | None]], *, x_label: str) -> str:
    """One line a name over the rounds; a value that is not known leaves a gap."""
    figure, axes = _figure(height=3.0)
    for name, values in lines.items():
        known = [np.nan if value is None else value for value in values]
        axes.plot(x, known, marker="o", markersize=4, linewidth=1.4, label=name)
    axes.set_xlabel(x_label)
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def beside_truth(
    x: Sequence[float],
    estimates: Sequence[tuple[float | None, float, float]],
    truths: Mapping[str, Sequence[float | None]],
    *,
    y_label: str,
) -> str:
    """Estimates with their intervals, value, lower and upper, and beside them a line for each truth."""
    figure, axes = _figure(height=3.0)
    value, lower, upper = np.array(estimates, dtype=np.float64).T
    distances = np.maximum(np.stack([value - lower, upper - value]), 0.0)
    axes.errorbar(x, value, yerr=distances, fmt="o", color=ACCENT, capsize=3, label="live, 95 % interval")
    for (name, values), style in zip(truths.items(), ("-", "--", ":"), strict=False):
        known = [np.nan if value is None else value for value in values]
        axes.plot(x, known, color=INK, linewidth=1.4, linestyle=style, marker="_", markersize=12, label=name)
    axes.set(xlabel="round", ylabel=y_label, xticks=list(x))
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
    axes.tick_params(length=2)
    return figure, axes


def _name_rows(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """Write a name at each row, with room on the left for characters that are wider than they measure."""
    axes.set_yticks(range(len(names)), names)
    n_wide = max(sum(unicodedata.east_asian_width(character) in "WF" for character in name) for name in names)
    left = min(n_wide * WIDE_SHORTFALL / WIDTH, 0.5)
    figure.set_layout_engine("constrained", rect=(left, 0, 1 - left, 1))


def _svg(figure: Figure) -> str:
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may be named "$10_$20"
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)  # the browser has others
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]

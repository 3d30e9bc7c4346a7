"""One look for every picture: colours that survive grey printing, and labels with units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesgmm.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.problem import Problem

# Lightness falls from colour to colour, so that they differ in grey; hues are told apart by the colour-blind.
PALETTE = ("#0b3c6f", "#d9822b", "#2f7f71", "#f2c14e", "#7a3b69", "#9ecae1")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "^", "s", "D", "v", "P")
MAP_COLOUR = "#b5402f"
INK = "#222222"

_ENTRIES = 12  # of a legend; colours and lines repeat after six
_ROWS = 60  # rows drawn at their full height
_TALLEST = 200.0  # inches: at 130 dots each, under half of the 65,536 dots of a picture's side


def pyplot() -> Any:
    """matplotlib.pyplot, imported when a picture is drawn."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError("pictures need the extra: pip install 'bayesgmm[plot]'") from error
    return pyplot


def canvas(ax: Axes | None = None, *, width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    """Axes to draw on: the caller's or new ones."""
    if ax is not None:
        return ax.figure, ax  # type: ignore[return-value]
    figure, axes = pyplot().subplots(figsize=(width, height), layout="constrained")
    return figure, axes


def rows_height(n: int, each: float) -> float:
    """Inches for ``n`` rows one above the other: tighter when there are many, and never more than a file can hold."""
    return min(n * each, max(_ROWS * each, 0.18 * n), _TALLEST)


def tidy(ax: Axes) -> None:
    """Take away the frame's top and right."""
    ax.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, ax: Axes, *, whole: bool = False) -> None:
    """Put the legend under the axes, or under the ``whole`` figure of several, clear of the labels."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > _ENTRIES:
        handles, labels = handles[:_ENTRIES], [*labels[: _ENTRIES - 1], f"{labels[_ENTRIES - 1]}, and others"]
    if whole or len(figure.axes) == 1:
        figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize="small", ncols=3)
    else:
        ax.legend(
            handles, labels, frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3
        )


def trait_label(problem: Problem, trait: str) -> str:
    """Name of a trait with its units where known."""
    unit = problem.units.get(trait)
    return f"{trait} ({unit})" if unit else trait


def per_unit(problem: Problem, trait: str) -> str:
    """What a density of a trait is in, where its units are known."""
    unit = problem.units.get(trait)
    return f" (per {unit})" if unit else ""


def colour(k: int) -> str:
    """Colour of a component."""
    return PALETTE[k % len(PALETTE)]


def line(k: int) -> Any:
    """Line style of a component."""
    return LINES[k % len(LINES)]


def marker(k: int) -> str:
    """Marker of a component."""
    return MARKERS[k % len(MARKERS)]


def trait_index(problem: Problem, trait: str | None) -> tuple[int, str]:
    """Position and name of a trait; the first when none is named."""
    from bayesgmm.errors import InputError

    if trait is None:
        return 0, problem.trait_names[0]
    if trait not in problem.trait_names:
        raise InputError(f"trait = {trait!r}; the traits are {', '.join(problem.trait_names)}")
    return problem.trait_names.index(trait), trait


def component_label(problem: Problem, k: int) -> str:
    """What a component is called in a legend."""
    label = problem.component_labels[k]
    return f"component {label}" if label.isdigit() else label

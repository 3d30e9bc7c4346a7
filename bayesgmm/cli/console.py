"""What commands say, how, and the codes they leave with."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

OK, BAD_INPUT, NOT_TRUSTED, INTERRUPTED = 0, 2, 3, 130
_WIDE = 200  # characters, where the output is no terminal


def status(text: str) -> Any:
    """A turning sign with words, while something takes its time."""
    from rich.console import Console

    return Console(stderr=True).status(text)


def is_watched() -> bool:
    """Whether somebody sees standard error: then progress is shown."""
    return sys.stderr.isatty()


@contextmanager
def told_when_interrupted(words: str) -> Iterator[None]:
    """Say so at once when somebody presses Ctrl-C, where the work at hand is finished first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def tell(number: int, frame: Any) -> None:
        print(words, file=sys.stderr, flush=True)
        signal.default_int_handler(number, frame)

    # where interrupts are ignored, as of a job in the background, they stay so
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def show(table: pd.DataFrame, title: str) -> None:
    """A table on standard output, as wide as it needs where nobody's window limits it."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in table.columns:
        numeric = table[name].dtype.kind in "iuf"
        drawn.add_column(str(name), justify="right" if numeric else "left", no_wrap=numeric)
    for row in table.itertuples(index=False):
        drawn.add_row(*(_cell(value) for value in row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(drawn)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"  # nothing where there is no number
    return str(value)


def leave(trusted: bool) -> None:
    """Leave with the code that says so where a result is not to be trusted."""
    if not trusted:
        raise typer.Exit(NOT_TRUSTED)

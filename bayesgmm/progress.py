"""Progress bars of long work, on standard error and only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def track[Item](items: Sequence[Item], label: str, *, enabled: bool) -> Iterator[Item]:
    """Yield items, with a progress bar when ``enabled``."""
    if not enabled:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description=label, console=Console(stderr=True), transient=True)


@contextmanager
def counting(label: str, total: int, *, enabled: bool) -> Iterator[Callable[[], None]]:
    """A function to call each time one of ``total`` things is done, with a progress bar when ``enabled``."""
    if not enabled:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)

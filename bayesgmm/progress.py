"""Progress bars of long work, on standard error and only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def track[Item](items: Sequence[Item], label: str, *, enabled: bool) -> Iterator[Item]:
    """Yield items, with a progress bar when ``enabled``."""
    if not enabled:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description=label, console=Console(stderr=True), transient=True)

"""What commands say on standard error, and the codes they leave with."""

from __future__ import annotations

from typing import Any

import typer

OK, BAD_INPUT, NOT_TRUSTED, INTERRUPTED = 0, 2, 3, 130


def status(text: str) -> Any:
    """A turning sign with words, while something takes its time."""
    from rich.console import Console

    return Console(stderr=True).status(text)


def leave(trusted: bool) -> None:
    """Leave with the code that says so where a result is not to be trusted."""
    if not trusted:
        raise typer.Exit(NOT_TRUSTED)

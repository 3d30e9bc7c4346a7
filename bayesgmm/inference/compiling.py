"""How long numba has compiled, so that the time of a first use is not taken for the time of what was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from numba.core.event import Event, Listener, install_listener


class CompileClock(Listener):  # type: ignore[misc]
    """Seconds in which some thread was compiling; one compiles at a time, and the others wait for what they need."""

    def __init__(self) -> None:
        self._depth, self._began, self._done = 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        """So far, with what is being compiled now."""
        running = perf_counter() - self._began if self._depth else 0.0
        return self._done + running

    def on_start(self, event: Event) -> None:
        """A function, perhaps within the compilation of another, begins to be compiled."""
        if self._depth == 0:
            self._began = perf_counter()
        self._depth += 1

    def on_end(self, event: Event) -> None:
        """It is compiled."""
        self._depth -= 1
        if self._depth == 0:
            self._done += perf_counter() - self._began


@contextmanager
def compile_clock() -> Iterator[CompileClock]:
    """A clock of what is compiled meanwhile."""
    clock = CompileClock()
    with install_listener("numba:compile", clock):
        yield clock

"""A task done again and again with generators of its own, by several threads.

Generators are spawned from one seed, and results keep the order of their numbers: the number of workers changes
nothing. Workers are threads, since the tasks are compiled code that lets others run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numba import get_num_threads

from bayesgmm.checks import check_whole, check_workers, seed_or_zero
from bayesgmm.progress import track


def in_parallel[Result](
    task: Callable[[np.random.Generator], Result],
    draws: int,
    *,
    seed: int | None = None,
    workers: int | None = None,
    progress: bool = False,
    label: str = "replicates",
) -> list[Result]:
    """Results of a task with so many generators, in order; arguments as for :func:`one_by_one`."""
    return list(one_by_one(task, draws, seed=seed, workers=workers, progress=progress, label=label))


def one_by_one[Result](
    task: Callable[[np.random.Generator], Result],
    draws: int,
    *,
    seed: int | None = None,
    workers: int | None = None,
    progress: bool = False,
    label: str = "replicates",
) -> Iterator[Result]:
    """Yield results of a task with so many generators, in order, by several threads.

    Whoever takes no more of them, or is interrupted, need do nothing: what has not begun never does.

    Parameters
    ----------
    task : callable
        Takes a generator and returns a result; its time should be spent in compiled code.
    draws : int
    seed : int, optional
        None: 0. Generators are spawned from it, one a replicate.
    workers : int, optional
        Threads; None: one a processor.
    progress : bool
        Show a progress bar on standard error.
    label : str
        Of the progress bar.

    Raises
    ------
    InputError
        If ``draws`` or ``workers`` is below 1.
    """
    check_whole("draws", draws, 1)
    check_workers("workers", workers)
    seeds = np.random.SeedSequence(seed_or_zero(seed)).spawn(draws)

    def one(own: np.random.SeedSequence) -> Result:
        return task(np.random.default_rng(own))

    # the first alone: it may have to compile
    yield one(seeds[0])
    count = min(workers or get_num_threads(), draws)
    if count == 1:
        for own in track(seeds[1:], label, enabled=progress):
            yield one(own)
        return
    with ThreadPoolExecutor(count) as pool:
        waiting: list[Future[Result]] = [pool.submit(one, own) for own in seeds[1:]]
        try:
            for future in track(waiting, label, enabled=progress):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

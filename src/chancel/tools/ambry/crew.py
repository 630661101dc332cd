"""Work that is spread over all cores, in processes forked for it and gone afterwards.

Threads would wait for each other. A fork has the keys already, so none passes through a pipe;
results go into shared memory, which the caller made; what else was revealed or made in a process
ends with it.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkProcess

from chancel.errors import ChancelError

LOOK_S = 0.1
"""How often the caller is told how far it is."""

Work = Callable[[Iterator[int]], None]
"""Does what belongs to each part that it draws, in a process of its own."""


def cores() -> int:
    """How many processors we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(work: Work, parts: Sequence[int], tell: Callable[[int, int], None]) -> None:
    """Have all ``parts`` done by as many processes as there are cores; ``tell`` how many are.

    Raises ``ChancelError`` if a process failed: what it made is not to be used. No process outlives
    the call.
    """
    count = min(cores(), len(parts))
    drawn = memoryview(mmap.mmap(-1, mmap.PAGESIZE * (1 + count // 1024))).cast("I")
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_run, args=(work, parts[number::count], drawn, number), daemon=True)
        for number in range(count)
    ]
    try:
        for process in processes:
            process.start()
        _wait(processes, lambda: tell(sum(drawn[:count]), len(parts)))
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def _wait(processes: Sequence[ForkProcess], look: Callable[[], None]) -> None:
    running = list(processes)
    while running:
        ended = connection.wait([process.sentinel for process in running], LOOK_S)
        for process in [process for process in running if process.sentinel in ended]:
            running.remove(process)
            process.join()
            if process.exitcode != 0:
                raise ChancelError(
                    f"one of the processes at work ended with {process.exitcode}:"
                    " was it killed, or is memory short?"
                )
        look()


def _run(work: Work, parts: Sequence[int], drawn: memoryview, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a key stroke for all: the caller ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work(_counted(parts, drawn, number))


def _counted(parts: Sequence[int], drawn: memoryview, number: int) -> Iterator[int]:
    for part in parts:
        yield part
        drawn[number] += 1

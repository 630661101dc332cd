"""Masks put on and taken off, run by run. Each datagram has a mask of its own: no arrays here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chancel.daemon.hot.packing import Packing
from chancel.daemon.run import Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.masking import Mask
from chancel.wire.drop import Drop


def wrap_run(mask: Mask, memory: memoryview, run: Run, limit: int, packing: Packing) -> None:
    """Wrap each datagram of a run; ``limit`` is that of :meth:`Mask.wrap`."""
    for datagram in _datagrams(memory, run):
        packing.add(run, mask.wrap(datagram, limit))


def unwrap_run(
    mask: Mask, memory: memoryview, run: Run, packing: Packing, drop: Callable[[Drop], None]
) -> None:
    """Unwrap each untrusted datagram of a run; ``drop`` is told of those that can't be."""
    for datagram in _datagrams(memory, run):
        try:
            packing.add(run, mask.unwrap(datagram))
        except RemoteProtocolError as error:
            drop(error.reason)


def _datagrams(memory: memoryview, run: Run) -> Iterator[memoryview]:
    last = run.end - run.last
    for at in range(run.offset, last, run.size):
        yield memory[at : at + run.size]
    yield memory[last : run.end]

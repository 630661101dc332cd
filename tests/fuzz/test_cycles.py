"""Bad input leaves nothing behind that only the cycle collector would find.

The processes that carry packets run without it (``child.COLLECTING``), so each cycle that a packet
can cause is memory that a stranger can take, packet by packet, for good.
"""

from __future__ import annotations

import errno
import gc
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chancel.daemon.hot.send import UdpSender
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.types import Address
from fuzz import engine_random
from fuzz.targets import load

INPUTS = 300
WARM_UP = 30


@contextmanager
def no_cycles() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize("name", ["cut", "receive", "masking", "opening", "coalesce", "filter"])
def test_hostile_packets_make_no_cycles(name: str) -> None:
    target = load(name)
    inputs = engine_random.inputs(target, seed=1)
    for data in itertools.islice(inputs, WARM_UP):
        target.check(data)
    with no_cycles():
        for data in itertools.islice(inputs, INPUTS):
            target.check(data)


def test_a_train_that_the_kernel_refuses_makes_no_cycle() -> None:
    class Refusing:
        """A socket of which the kernel takes nothing."""

        family = socket.AF_INET

        def sendmsg(self, *_: Any) -> int:
            raise OSError(errno.EINVAL, "no trains")

        def sendto(self, *_: Any) -> int:
            raise OSError(errno.EMSGSIZE, "nor this size")

    sender = UdpSender(Refusing(), gso=True)  # type: ignore[arg-type]
    with no_cycles():
        for _ in range(3):
            run = Run(0, 0, 3, 100, 100, 0)
            sender.send(memoryview(bytes(300)), [run], Address("192.0.2.1", 1))
    assert sender.drops == {Drop.SEND_TOO_LARGE: 9}

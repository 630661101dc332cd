"""A serial cable between two pseudo-terminals: somebody moves the bytes, and may harm them."""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Trouble = Callable[[bytes], bytes]


def none(data: bytes) -> bytes:
    """A good cable."""
    return data


class Noise:
    """Flips bits, loses bytes and adds some: each byte meets one of these with ``probability``.

    What happens depends on the seed and on the byte's place in the stream, not on how it is cut.
    """

    def __init__(self, seed: int, probability: float) -> None:
        self.probability = probability
        self.done = 0
        self._random = random.Random(seed)

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            fate = self._random.random() / self.probability
            if fate >= 1:
                out.append(byte)
                continue
            self.done += 1
            if fate < 1 / 3:
                out.append(byte ^ 1 << self._random.randrange(8))
            elif fate < 2 / 3:
                out += bytes((byte, self._random.randrange(256)))
        return bytes(out)


class Cable:
    """``left`` and ``right`` are the devices to open."""

    def __init__(self, there: Trouble = none, back: Trouble = none) -> None:
        self._masters: list[int] = []
        self._slaves: list[int] = []
        for _ in range(2):
            master, slave = os.openpty()
            os.set_blocking(master, False)
            tty.setraw(slave)
            self._masters.append(master)
            self._slaves.append(slave)
        self.left, self.right = (os.ttyname(slave) for slave in self._slaves)
        left, right = self._masters
        self._carriers = [
            asyncio.create_task(_carry(left, right, there)),
            asyncio.create_task(_carry(right, left, back)),
        ]

    async def pull_out(self) -> None:
        """Both devices are gone."""
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.wait(self._carriers)
        for fd in (*self._masters, *self._slaves):
            os.close(fd)
        self._masters, self._slaves = [], []


@asynccontextmanager
async def cable(there: Trouble = none, back: Trouble = none) -> AsyncIterator[Cable]:
    """A cable for a while."""
    made = Cable(there, back)
    try:
        yield made
    finally:
        await made.pull_out()


async def _carry(source: int, target: int, trouble: Trouble) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = os.read(source, 4096)
        except BlockingIOError:
            await _ready(source, loop.add_reader, loop.remove_reader)
            continue
        data = trouble(data)
        while data:
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:
                await _ready(target, loop.add_writer, loop.remove_writer)


async def _ready(
    fd: int,
    add: Callable[..., None],
    remove: Callable[[int], bool],
) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)

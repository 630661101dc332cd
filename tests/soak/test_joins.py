"""A cathedral that lies: devices come and go without end, and nothing is left of those that went.

A slice in the test suite; a thousand of each with ``make soak`` (``CHANCEL_SOAK_JOINS``). The group
of a daemon, each of whose processes is weighed; and the library's own liturgy, whose objects are
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.daemon import places
from chancel.daemon.config_liturgy import load
from chancel.daemon.liturgy_tunnels import secret_of
from chancel.errors import LinkClosed
from chancel.lab.lab import Lab
from chancel.links.memory import MemoryNetwork, MemoryPort
from chancel.protocol.cathedral_offers import seal_answer
from chancel.tunnel.liturgy import Joined, Left
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.types import Address
from tests.e2e.congregation import CATHEDRAL, GROUP, HASTY, PORT, Congregation, Device
from tests.e2e.ends import USER, eventually
from tests.tunnel.pair import WALL, run_jumping
from tests.tunnel.parish import FLOCK, HERE, SUITE, Parish
from tests.tunnel.test_liturgy import TRIO, Member

JOINS = int(os.environ.get("CHANCEL_SOAK_JOINS", "64"))

WARM = 48
"""Joins after which everything has been used that will be."""

STEPS = 8
"""So many times is everything weighed after that, and told with ``-s``."""

DEVICES = list(range(2, 10))
UP_LIMIT_S = 60.0
JOIN_LIMIT_S = 3.0
"""Of one, on the busiest machine: bounds a hang, and nothing else."""

HALF_KB = 256
"""By so much a process may grow in the second half of the run: of a thousand, nothing that stays of
every tunnel may be larger than half a kilobyte, once it has filled the room that there was. (All
that chapel has of one is 34 KB. ``test_forgetting`` sees each leftover, at the first tunnel.)

The C library gives the end of its heap back in pieces of 128 KB, so a process may have one more or
one less of them at any time. In the first half a heap finds its size as well: eight tunnels may be
there or not, room is filled that the guardian left, and the interpreter keeps up to 2,000 freed
tuples of each length. Whatever is left of every tunnel grows in the second half as in the first."""

OBJECTS = 400
"""By so much their number may grow: what is on its way at one moment and not at another."""


class Watched:
    """A device whose tunnels come and go: how many there were, and what its processes weigh."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._read = 0
        self._joins = self._leaves = 0

    @property
    def joins(self) -> int:
        self._look()
        return self._joins

    @property
    def leaves(self) -> int:
        self._look()
        return self._leaves

    def had(self, joins: int) -> bool:
        """Whether so many have come by now."""
        return self.joins >= joins

    def weights(self) -> dict[str, int]:
        """Memory of each process that is no file's, in KB.

        It includes what is still shared with the guardian, so a page that is copied because
        somebody writes to it is no growth, and only what a heap gets from the kernel is.
        """
        pids = self._pids()
        inside = self._device.host.call("tests.e2e.inside_memory:anonymous_kb", [*pids.values()])
        return dict(zip(pids, inside, strict=True))

    def descriptors(self) -> int:
        """How many all processes have open."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self._pids().values())

    def _pids(self) -> dict[str, int]:
        group = self._device.answer()["group"]
        return {"guardian": group["pid"], **group["processes"]}

    def _look(self) -> None:
        """Read on in its log, up to the last whole line."""
        with self._device.log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        self._joins += whole.count(b" tunnel added ")
        self._leaves += whole.count(b" tunnel removed ")


def weigh(watched: Watched) -> list[dict[str, int]]:
    """Wait for all joins; what each process had when it was warm, and after each step."""
    rows = []
    begun, limit_s = time.monotonic(), JOIN_LIMIT_S * (WARM + JOINS)
    for step in range(STEPS + 1):
        wanted = WARM + JOINS * step // STEPS
        eventually(partial(watched.had, wanted), limit_s, f"{wanted} joins")
        rows.append(watched.weights())
        if step == 0:
            sys.stdout.write(f"\nKB of each process ({', '.join(rows[0])})\n")
        figures = " ".join(f"{kb:6}" for kb in rows[-1].values())
        sys.stdout.write(f"{watched.joins:5} joins {time.monotonic() - begun:6.1f} s: {figures}\n")
        sys.stdout.flush()
    return rows


@pytest.mark.timeout(300 + JOIN_LIMIT_S * (WARM + JOINS))
def test_a_group_that_tunnels_join_and_leave(lab: Lab, folder: Path) -> None:
    user = USER if places.is_machine_root() else None
    congregation = Congregation(lab, folder, {"one": 0x01}, user=user)
    (one,) = congregation.devices
    who, keys = one.member, congregation.keys
    for device in DEVICES:  # so that each tunnel begins a key exchange
        keys.write(secret_of(load(one.config), device), bytes([device]) * 32)
    secret = keys.secret(who).read_bytes().hex()
    told = (secret, who.flock_with_domain, who.identity, GROUP, DEVICES)
    liar = congregation.cathedral.host.start("tests.e2e.inside_liar:lie", CATHEDRAL, PORT, *told)
    one.start(HASTY)
    watched = Watched(one)
    try:
        eventually(partial(watched.had, WARM), JOIN_LIMIT_S * WARM, "it is warm")
        held = watched.descriptors()
        rows = weigh(watched)
        liar.program.kill()
        half = rows[len(rows) // 2]
        grown = {name: kb - half[name] for name, kb in rows[-1].items()}
        sys.stdout.write(f"KB grown in the second half: {grown}\n")
        assert max(grown.values()) <= HALF_KB, grown
        assert watched.leaves >= watched.joins - len(DEVICES)
        assert one.log.read_text().count(" key exchange started ") >= JOINS // 2
        eventually(
            lambda: watched.descriptors() <= held + 4 * len(DEVICES),
            UP_LIMIT_S,
            "no socket is left over",
        )
    except BaseException:
        sys.stdout.write(congregation.logs())
        raise
    finally:
        assert one.stop() == 0


async def lie(parish: Parish, port: MemoryPort, device: int, names: list[int]) -> None:
    """Answer each question of a device's liturgy: these are there, and next time nobody is."""
    identity = CathedralId(device)
    with parish.secrets[device].reveal() as secret:
        base = client_offer_base(SUITE, secret, FLOCK)
    peers = bytes(number in names for number in range(PEERS_BYTES))
    loop = asyncio.get_running_loop()
    asking: Address | None = None
    named = itertools.cycle((peers, bytes(PEERS_BYTES)))
    with contextlib.suppress(LinkClosed):
        while True:
            _, source = await port.receive()
            asking = asking or source
            if source == asking:
                body = LiturgyBody(0, 0, next(named))
                wall = int(WALL + loop.time())
                await port.send(seal_answer(SUITE, base, identity, wall, body), source)


def test_a_liturgy_of_the_library() -> None:
    counts: list[int] = []

    async def main() -> None:
        parish = Parish(MemoryNetwork(), devices=TRIO)
        one = Member(parish, TRIO[0])
        port = parish.network.port(HERE)
        async with port, asyncio.TaskGroup() as group:
            group.create_task(lie(parish, port, one.device, DEVICES))
            async with one.liturgy:
                came = left = 0
                async for event in one.liturgy.events():
                    came += isinstance(event, Joined)
                    left += isinstance(event, Left)
                    if isinstance(event, Left) and not one.sees and came in (WARM, WARM + JOINS):
                        counts.append(_objects())
                    if came == left == WARM + JOINS:
                        break
            port.close()

    run_jumping(main())
    before, after = counts
    assert after <= before + OBJECTS


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())

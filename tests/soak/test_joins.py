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
from pathlib import Path

import pytest

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.daemon import places
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

DEVICES = list(range(2, 10))
UP_LIMIT_S = 60.0
JOIN_LIMIT_S = 3.0
"""Of one, on the busiest machine: bounds a hang, and nothing else."""

PROCESS_KB = 2048
"""By so much a process may grow while its heap finds its size, eight tunnels included, which may be
there or not. A thousand tunnels that stayed would take twenty times as much of the keeper alone."""

GROUP_KB = 4096
OBJECTS = 400
"""By so much their number may grow: what is on its way at one moment and not at another."""


def joins(device: Device) -> int:
    return device.log.read_text().count(" tunnel added ")


def weights(device: Device) -> dict[str, int]:
    """Memory of each process of the group that is no file's, in KB."""
    processes: dict[str, int] = device.answer()["group"]["processes"]
    found = device.host.call("tests.e2e.inside_memory:anonymous_kb", list(processes.values()))
    return dict(zip(processes, found, strict=True))


def descriptors(device: Device) -> int:
    pids: dict[str, int] = device.answer()["group"]["processes"]
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids.values())


@pytest.mark.timeout(300 + JOIN_LIMIT_S * (WARM + JOINS))
def test_a_group_that_tunnels_join_and_leave(lab: Lab, folder: Path) -> None:
    user = USER if places.is_machine_root() else None
    congregation = Congregation(lab, folder, {"one": 0x01}, user=user)
    (one,) = congregation.devices
    who = one.member
    secret = congregation.keys.secret(who).read_bytes().hex()
    told = (secret, who.flock_with_domain, who.identity, GROUP, DEVICES)
    liar = congregation.cathedral.host.start("tests.e2e.inside_liar:lie", CATHEDRAL, PORT, *told)
    one.start(HASTY)
    limit_s = JOIN_LIMIT_S * (WARM + JOINS)
    try:
        eventually(lambda: joins(one) >= WARM, limit_s, "it is warm")
        before, held = weights(one), descriptors(one)
        eventually(lambda: joins(one) >= WARM + JOINS, limit_s, f"{JOINS} joins")
        after = weights(one)
        liar.program.kill()
        grown = {name: after[name] - before[name] for name in before}
        sys.stdout.write(f"{joins(one)} joins; KB grown: {grown}\n")
        assert max(grown.values()) <= PROCESS_KB, grown
        assert sum(grown.values()) <= GROUP_KB, grown
        left = one.log.read_text().count(" tunnel removed ")
        assert left >= joins(one) - len(DEVICES)
        eventually(
            lambda: descriptors(one) <= held + 4 * len(DEVICES),
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

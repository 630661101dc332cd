"""A cathedral that lies: devices come and go without end, and a group stays what it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from chancel.daemon import places
from chancel.lab.lab import Lab
from tests.e2e.congregation import CATHEDRAL, GROUP, HASTY, PORT, Congregation, Device
from tests.e2e.ends import USER, eventually

JOINS = int(os.environ.get("CHANCEL_JOINS", "64"))
"""A slice; a thousand take some minutes."""

WARM = 24
"""Joins after which everything has been used that will be."""

DEVICES = list(range(2, 10))
UP_LIMIT_S = 60.0
END_LIMIT_S = 1200.0

GROWTH_MB = 6.0
"""Of all processes together, eight tunnels included, which may be there or not."""


def joins(device: Device) -> int:
    return device.log.read_text().count(" tunnel added ")


def weight_mb(device: Device) -> float:
    pids = list(device.answer()["group"]["processes"].values())
    return float(device.host.call("tests.e2e.inside_memory:alone_kb", pids)) / 1024


def descriptors(device: Device) -> dict[str, int]:
    pids: dict[str, int] = device.answer()["group"]["processes"]
    return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in pids.items()}


@pytest.mark.timeout(1500)
def test_joins_and_leaves_leave_nothing_behind(lab: Lab, folder: Path) -> None:
    user = USER if places.is_machine_root() else None
    congregation = Congregation(lab, folder, {"one": 0x01}, user=user)
    (one,) = congregation.devices
    who = one.member
    secret = congregation.keys.secret(who).read_bytes().hex()
    told = (secret, who.flock_with_domain, who.identity, GROUP, DEVICES)
    liar = congregation.cathedral.host.start("tests.e2e.inside_liar:lie", CATHEDRAL, PORT, *told)
    one.start(HASTY)
    try:
        eventually(lambda: joins(one) >= WARM, END_LIMIT_S, "it is warm")
        before, held = weight_mb(one), descriptors(one)
        eventually(lambda: joins(one) >= WARM + JOINS, END_LIMIT_S, f"{JOINS} joins")
        after = weight_mb(one)
        liar.program.kill()
        assert after <= before + GROWTH_MB
        left = one.log.read_text().count(" tunnel removed ")
        assert left >= joins(one) - len(DEVICES)
        eventually(
            lambda: sum(descriptors(one).values()) <= sum(held.values()) + 4 * len(DEVICES),
            UP_LIMIT_S,
            "no socket is left over",
        )
        sys.stdout.write(f"{joins(one)} joins, {before:.1f} MB and then {after:.1f} MB\n")
    except BaseException:
        sys.stdout.write(congregation.logs())
        raise
    finally:
        assert one.stop() == 0

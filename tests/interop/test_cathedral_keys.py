"""Keys that roll while a tunnel is at work, two flocks, and the limit of what is relayed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chancel.demo.parish import Plan
from chancel.demo.play import Play
from chancel.demo.programs import Program
from chancel.demo.sacristy import AMBRY, Sacristy
from chancel.sim.nat import NAT_TYPES
from tests.interop.parishes import programs, side_by_side
from tests.interop.results import Results

ROLL_LIMIT_S = 60.0
"""A cathedral looks every 10 s, a device asks every 5 s."""

MBIT = 8
PAYLOAD_BYTES = 1200
OVERHEAD_BYTES = 28 + 32 + 2 + 16
"""IP and UDP inside; header, tail and tag of a traffic packet."""
FLOOD_S = 8.0
FLOOD = 2.0
"""Times the limit."""
FLOODS = 3
DRAINED_S = 3.0
"""After this the bucket is empty, whatever it held."""
TOLERANCE = 0.1

C, R = "chancel", "reference"
CONE, SYMMETRIC = NAT_TYPES["port-restricted"], NAT_TYPES["symmetric"]

pytestmark = pytest.mark.timeout(600)


class Case(NamedTuple):
    """What is tried, who plays whom, and whose tool makes the first bundle and the next."""

    what: str
    cathedral: str
    left: str
    right: str
    masks: str = "plain"
    tools: tuple[str, str] = (C, C)

    @property
    def plan(self) -> Plan:
        nat = SYMMETRIC if self.what == "limit" else CONE
        return Plan(
            nats=(nat, nat),
            abroad=self.what == "two flocks",
            mbit=MBIT if self.what == "limit" else 0,
            shroud=self.masks == "shroud",
            tfc=self.masks == "tfc",
        )

    @property
    def short(self) -> str:
        """For ``-k``: first letters of cathedral, left, right, and of the tools' makers."""
        who = "".join(each[0] for each in (self.cathedral, self.left, self.right))
        tools = "".join(each[0] for each in self.tools)
        return f"{self.what.replace(' ', '-')}-{who}-{tools}-{self.masks}"

    def __str__(self) -> str:
        text = f"{self.what}: cathedral {self.cathedral}, left {self.left}, right {self.right}"
        if self.what == "roll":
            text += f", bundle by {self.tools[0]}, next by {self.tools[1]}"
        return f"{text}, {self.masks}"


ROLLS = [
    Case("roll", R, R, R, tools=(R, R)),
    Case("roll", R, R, R, tools=(C, C)),
    Case("roll", C, C, C, tools=(R, R)),
    Case("roll", C, R, R, tools=(C, R)),
    Case("roll", R, C, C, tools=(R, C)),
    Case("roll", R, C, R, "shroud", tools=(C, R)),
    Case("roll", C, R, C, "shroud", tools=(R, C)),
    Case("roll", C, C, C, "tfc", tools=(C, C)),
]

TWO_FLOCKS = [
    Case("two flocks", R, R, R),
    Case("two flocks", C, R, R, "shroud"),  # the reference's own cathedral refuses this
    Case("two flocks", R, C, R),
    Case("two flocks", C, C, C, "shroud"),
    Case("two flocks", C, C, R, "tfc"),
    Case("two flocks", R, C, C, "tfc"),
]

LIMITS = [Case("limit", R, R, R), Case("limit", C, R, R), Case("limit", C, C, C, "shroud")]


class Seen(NamedTuple):
    """What the case found out, in words of its own."""

    outcome: str
    lost: int = 0


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, reference: Program) -> Iterator[dict[Case, Future[Seen]]]:
    """All cases that were asked for, at work."""
    plays = {"roll": roll, "two flocks": go_abroad, "limit": flood}
    tools = {C: AMBRY, R: (reference_tool(reference),)}

    def perform(case: Case, folder: Path) -> Seen:
        roles = programs(reference, case.cathedral, case.left, case.right)
        sacristy = Sacristy(folder / "sacristy", tools[case.tools[0]])
        with Play(folder, case.plan, roles, sacristy) as playing:
            playing.come_up()
            if case.what == "limit" or R in case[1:4]:
                playing.wait_relayed()
            return plays[case.what](playing, tools[case.tools[1]])

    with side_by_side(request, perform) as futures:
        yield futures


def reference_tool(reference: Program) -> str:
    """The reference's ambry, that of ``AMBRY`` or the one beside its daemon."""
    beside = Path(reference.command[0]).parent / "tools/ambry/ambry"
    path = os.environ.get("AMBRY") or str(beside)
    if shutil.which(path) is None:
        pytest.skip(f"{path} is no program that can be run: make interop AMBRY=/path/to/ambry")
    return str(Path(path).resolve())


def roll(playing: Play, tool: tuple[str, ...]) -> Seen:
    """Roll the keys under pings: both devices take the new secret, and keys made with it."""
    playing.wait_direct()
    playing.ping_both_ways()
    before = {device: device.secret.read_bytes() for device in playing.parish.devices}
    assert len(set(before.values())) == 1
    began_at = time.monotonic()
    playing.parish.roll(tool)

    def adopted() -> bool:
        secrets = [device.secret.read_bytes() for device in playing.parish.devices]
        return secrets[0] == secrets[1] and secrets[0] != before[playing.left]

    playing.until(adopted, ROLL_LIMIT_S, "both devices have the new secret")
    adopted_at = time.monotonic()
    playing.ping_both_ways(50)
    return Seen(f"new secret after {adopted_at - began_at:.1f} s", playing.seen.lost(began_at))


def go_abroad(playing: Play, _tool: tuple[str, ...]) -> Seen:
    """Devices of two flocks: up, direct, both ways."""
    direct_s = playing.wait_direct()
    playing.ping_both_ways()
    return Seen(f"direct {direct_s:.1f} s")


def flood(playing: Play, _tool: tuple[str, ...]) -> Seen:
    """Send twice the limit through the relay: never more arrives than the formula says.

    Nor less, if the machine is quick enough to keep on sending: it has three chances.
    """
    shares: list[float] = []
    for _ in range(FLOODS):
        shares.append(_passed(playing))
        assert shares[-1] <= 1 + TOLERANCE, playing.logs(f"{shares}")
        if shares[-1] >= 1 - TOLERANCE:
            break
        time.sleep(DRAINED_S)
    assert playing.seen.direct_since(playing.started_at) is None
    assert shares[-1] >= 1 - TOLERANCE, playing.logs(f"{shares}")
    return Seen(f"{shares[-1]:.3f} of the formula's bytes")


def _passed(playing: Play) -> float:
    """The share of what the formula lets pass that arrived."""
    limit = MBIT // 8 * (1 << 20)
    packet = PAYLOAD_BYTES + OVERHEAD_BYTES
    rate = FLOOD * limit / packet
    left, right = playing.left, playing.right
    receiving = right.host.start("chancel.lab.blast:receive", right.inner)
    next(receiving.progress)
    shape: tuple[Any, ...] = round(rate * FLOOD_S), PAYLOAD_BYTES, rate
    left.host.call("chancel.lab.blast:send", right.inner, 5202, *shape)
    received = receiving.result()
    seconds = received["seconds"]  # what waits somewhere arrives after the sender's end
    return float(received["packets"] * packet / (limit + limit // 1000 * 1000 * seconds))


@pytest.mark.parametrize("case", ROLLS, ids=lambda case: case.short)
def test_a_new_generation_under_traffic(
    case: Case, seen: dict[Case, Future[Seen]], results: Results
) -> None:
    became = seen[case].result()
    ours = {case.left, case.right} == {C}
    results.add(
        str(case), f"{became.outcome}, {became.lost} pings lost", "none lost" if ours else ""
    )
    assert not ours or became.lost == 0


@pytest.mark.parametrize("case", TWO_FLOCKS, ids=lambda case: case.short)
def test_devices_of_two_flocks(
    case: Case, seen: dict[Case, Future[Seen]], results: Results
) -> None:
    results.add(str(case), seen[case].result().outcome)


@pytest.mark.parametrize("case", LIMITS, ids=lambda case: case.short)
def test_the_limit_is_the_formulas(
    case: Case, seen: dict[Case, Future[Seen]], results: Results
) -> None:
    results.add(str(case), seen[case].result().outcome, f"± {TOLERANCE:.0%}")

"""Two devices behind NATs, two cathedrals: found, direct, left alone, and found again.

One story, as each of its steps takes what those before it made; all take their turns faster than
usual (``hurried``).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import ctl, places, why_cathedral
from chancel.daemon.why import explain
from chancel.demo.parish import Device, Parish, Plan, Seat
from chancel.lab.lab import Lab
from chancel.sim.nat import NatModel
from tests.e2e.ends import PING, USER, eventually

UP_LIMIT_S = 30.0
DIRECT_LIMIT_S = 90.0
"""A cathedral tells of a direct address 15 s after both were registered; and machines pause."""
FAILOVER_LIMIT_S = 90.0
END_LIMIT_S = 10.0
ROLL_LIMIT_S = 60.0
LOCAL_PORT = 4500

RUN = (sys.executable, "-m", "tests.e2e.hurried")
ANSWER_S = 5.0
"""After so much time ``why`` is sure that nothing comes any more."""


class Village:
    """A parish at work."""

    def __init__(self, parish: Parish) -> None:
        self.parish = parish
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        for device in parish.devices:
            text = device.config.read_text()
            device.config.write_text(f"{text}local 0.0.0.0:{LOCAL_PORT}\n")

    def start(self, *seats: Seat) -> None:
        for seat in seats:
            self.programs[seat.name] = seat.start(RUN)

    def stop(self, seat: Seat) -> int:
        program = self.programs.pop(seat.name)
        program.send_signal(signal.SIGTERM)
        return program.wait(END_LIMIT_S)

    def kill(self, seat: Seat) -> None:
        """The first process; all others follow it."""
        program = self.programs.pop(seat.name)
        program.kill()
        program.wait(END_LIMIT_S)

    def tunnel(self, device: Device) -> dict[str, Any]:
        """The status of a device's tunnel; empty while nobody answers."""
        groups = ctl.survey(device.runtime).groups
        return (
            dict(groups[0].answer["tunnels"][0]) if groups and groups[0].answer["tunnels"] else {}
        )

    def ways(self) -> list[str]:
        return [str(self.tunnel(device).get("path")) for device in self.parish.devices]

    def carries(self) -> bool:
        """Whether a ping comes back."""
        left, right = self.parish.devices
        return bool(left.host.call(PING, right.inner, 1, 0.0, 56, True, 1.0)["received"])

    def why(self, device: Device) -> list[str]:
        """The codes of ``chancel status --why``; none while nobody answers."""
        tunnel = self.tunnel(device)
        return [finding.code for finding in explain(tunnel).findings] if tunnel else []

    def logs(self) -> str:
        return "\n".join(
            f"--- {seat.name}\n{seat.log.read_text()[-4000:]}"
            for seat in self.parish.seats
            if seat.log.exists()
        )


@pytest.fixture
def village(lab: Lab, folder: Path, request: pytest.FixtureRequest) -> Iterator[Village]:
    user = USER if places.is_machine_root() else None
    plan = Plan(
        cathedrals=2, near=(0, 1), nats=(NatModel(), NatModel()), remembrance=True, shroud=True
    )
    made = Village(Parish(lab, folder, plan, user=user))
    failed = request.session.testsfailed
    yield made
    if request.session.testsfailed > failed:
        sys.stdout.write(made.logs())
    for program in made.programs.values():
        program.send_signal(signal.SIGTERM)
    assert {program.wait(END_LIMIT_S) for program in made.programs.values()} == {0}


def generation(tunnel: dict[str, Any]) -> str:
    return str(tunnel.get("cathedral", {}).get("generation"))


@pytest.mark.timeout(600)
def test_a_life_through_cathedrals(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_cathedral, "ANSWER_S", ANSWER_S)
    parish = village.parish
    left, right = parish.devices
    east, west = parish.cathedrals

    # Alone: the cathedral answers, and the peer isn't there.
    village.start(east, west, left)
    eventually(lambda: "peer-not-registered" in village.why(left), UP_LIMIT_S, "left is alone")
    assert left.secret.stat().st_mode & 0o777 == 0o600

    # Relayed first, and both know their cathedrals.
    village.start(right)
    eventually(village.carries, UP_LIMIT_S, "carried")
    seen = village.tunnel(left)
    assert seen["cathedral"]["known"] == 2
    assert left.remembrance.stat().st_size == right.remembrance.stat().st_size == 192
    assert left.secret.read_bytes() == right.secret.read_bytes()

    # Direct as soon as both know where the other is.
    eventually(lambda: village.ways() == ["direct", "direct"], DIRECT_LIMIT_S, "direct")
    assert village.tunnel(left)["peer"] == f"{right.public}:{LOCAL_PORT}"
    eventually(lambda: village.why(left) == [], UP_LIMIT_S, "nothing to complain of")
    assert (left.home / "left.peers").read_text().startswith(f"{right.public}:{LOCAL_PORT}\n")

    # A new ambry rolls the keys, under traffic.
    before, secret = generation(village.tunnel(left)), left.secret.read_bytes()
    parish.roll()
    for device in parish.devices:
        eventually(
            lambda device=device: generation(village.tunnel(device)) != before,  # type: ignore[misc]
            ROLL_LIMIT_S,
            f"a new ambry at {device.name}",
        )
    eventually(
        lambda: left.secret.read_bytes() == right.secret.read_bytes() != secret,
        ROLL_LIMIT_S,
        "one new secret",
    )
    eventually(village.carries, UP_LIMIT_S, "carried under new keys")

    # One cathedral dies: who was there goes to the other one.
    village.kill(east)
    eventually(
        lambda: str(village.tunnel(left)["cathedral"]["address"]).startswith(west.address),
        FAILOVER_LIMIT_S,
        "left is at the other cathedral",
    )
    assert village.carries()

    # All are dead: the tunnel goes on, and says what will be missed.
    village.kill(west)
    eventually(
        lambda: "cathedral-silent" in village.why(left), FAILOVER_LIMIT_S, "left misses a cathedral"
    )
    assert village.ways() == ["direct", "direct"]
    assert village.carries()

    # A device that starts anew finds its peer where it was, under the secret it has.
    assert village.stop(left) == 0
    village.start(left)
    eventually(village.carries, UP_LIMIT_S, "found again")
    assert village.tunnel(left)["cathedral"]["heard_s"] is None

    # And with a cathedral back everything is as it was.
    village.start(east)
    eventually(
        lambda: generation(village.tunnel(left)) == generation(village.tunnel(right)) != "None",
        FAILOVER_LIMIT_S,
        "one generation",
    )
    eventually(village.carries, UP_LIMIT_S, "carried in the end")

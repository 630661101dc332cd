"""A liturgy of three devices behind NATs: they meet, one leaves and returns, the cathedral dies.

One story, as each of its steps takes what those before it made; all take their turns faster than
usual (``hurried``).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon import ctl, metrics_client, places, why_liturgy
from chancel.daemon.config_types import LITURGY_PROCESSES
from chancel.errors import LocalProtocolError
from chancel.lab.lab import Lab
from tests.e2e.congregation import Congregation, Device
from tests.e2e.ends import USER, eventually, is_alive

UP_LIMIT_S = 60.0
GONE_LIMIT_S = 120.0


@pytest.fixture
def congregation(lab: Lab, folder: Path, request: pytest.FixtureRequest) -> Iterator[Congregation]:
    user = USER if places.is_machine_root() else None
    devices = {"one": 0x01, "two": 0x02, "shy": 0x1F, "timid": 0x20}
    made = Congregation(
        lab, folder, devices, hidden=("shy", "timid"), shroud=True, remembrance=True, user=user
    )
    failed = request.session.testsfailed
    yield made
    if request.session.testsfailed > failed:
        sys.stdout.write(made.logs())
    assert made.stop() <= {0}


def meet(*devices: Device) -> None:
    """Wait until a ping comes back between all of them."""
    for device in devices:
        for other in devices:
            if device is not other:
                eventually(
                    lambda device=device, other=other: device.reaches(other),  # type: ignore[misc]
                    UP_LIMIT_S,
                    f"{device.name} reaches {other.name}",
                )


@pytest.mark.timeout(600)
def test_a_life_together(congregation: Congregation) -> None:
    cathedral = congregation.cathedral
    one, two, shy, timid = congregation.devices

    # Alone: the cathedral answers, and names nobody.
    cathedral.start()
    one.start()
    eventually(lambda: one.liturgy().get("answered_s") is not None, UP_LIMIT_S, "an answer")
    assert one.members() == []
    processes = one.answer()["group"]["processes"]
    assert set(processes) == set(LITURGY_PROCESSES)

    # Three meet, by the addresses that their numbers have. Two hidden ones don't see each other.
    for device in (two, shy, timid):
        device.start()
    meet(one, two, shy)
    meet(one, timid)
    assert shy.members() == timid.members() == [0x01, 0x02]
    assert one.members() == [0x02, 0x1F, 0x20]
    assert {each["path"] for each in one.tunnels().values()} <= {"direct", "relay"}
    assert one.liturgy()["tunnels"] == {
        "cafeba17-01-02": 0x02,
        "cafeba17-01-1f": 0x1F,
        "cafeba17-01-20": 0x20,
    }
    assert why_liturgy.findings(one.liturgy()) == []
    told = metrics_client.read(one.runtime / "one.metrics")
    assert 'chancel_liturgy_members{liturgy="one"} 3' in told
    assert 'chancel_liturgy_joins_total{liturgy="one"} 3' in told

    # Three tunnels, and the processes are those that there were: nobody has been added.
    assert one.answer()["group"]["processes"] == processes
    assert one.program is not None
    assert {one.program.pid, *processes.values()} == one.processes()

    # The tunnels are the liturgy's own.
    with pytest.raises(LocalProtocolError, match="one is a liturgy, which adds and removes"):
        ctl.remove(one.runtime / "cafeba17-01-02.ctl", "cafeba17-01-02")

    # One is killed: the others forget it, and it finds them again.
    assert two.program is not None
    pids = two.processes()
    two.stop(signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, pids)), UP_LIMIT_S, "nothing of it is left")
    eventually(lambda: one.members() == [0x1F, 0x20], GONE_LIMIT_S, "two isn't named any more")
    eventually(lambda: 0x02 not in one.tunnels(), GONE_LIMIT_S, "its tunnel is gone")
    assert one.reaches(shy)
    two.start()
    meet(one, two)

    # All cathedrals are dead: nothing changes, and it is said what will be missed.
    cathedral.stop(signal.SIGKILL)
    eventually(
        lambda: [each.code for each in why_liturgy.findings(one.liturgy())] == ["cathedral-silent"],
        UP_LIMIT_S,
        "one misses the cathedral",
    )
    meet(one, two, shy)
    assert set(one.tunnels()) == {0x02, 0x1F, 0x20}
    assert (one.home / "remembrance").stat().st_size == 192
    cathedral.start()
    eventually(lambda: why_liturgy.findings(one.liturgy()) == [], UP_LIMIT_S, "it is back")

    # At the end all tunnels go, and so do their sockets.
    assert one.stop() == 0
    assert not [path for path in one.runtime.iterdir() if path.suffix in {".ctl", ".metrics"}]

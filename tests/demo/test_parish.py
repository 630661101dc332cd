"""A parish's networks and files: what the demonstration and tests build on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.cathedrald import config as server_config
from chancel.daemon import config, places
from chancel.demo.parish import NAT_PORT, PORT, Parish, Plan
from chancel.demo.sacristy import ABROAD, DOMAIN, HOME, LEFT, RIGHT_ABROAD, Sacristy
from chancel.errors import ChancelError
from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError
from chancel.protocol.cathedral.settings import Allow
from chancel.protocol.cathedral.settings_text import parse
from chancel.sim.nat import NAT_TYPES
from chancel.tools.ambry.bundle import load_ends
from chancel.tools.ambry.check import check
from chancel.tools.ambry.reading import read
from chancel.wire.types import Address, Flocks
from tests.tools.playing import SUITE, quiet

NAT = NAT_TYPES["port-restricted"]
USER = "nobody" if places.is_machine_root() else None

Build = Callable[[Plan], Parish]


@pytest.fixture(scope="module")
def sacristy() -> Iterator[Sacristy]:
    with tempfile.TemporaryDirectory(prefix="chancel-parish-") as folder:
        Path(folder).chmod(0o711)
        yield Sacristy(Path(folder) / "sacristy", user=USER)


@pytest.fixture
def build(sacristy: Sacristy, tmp_path: Path) -> Iterator[Build]:
    try:
        built = Lab()
    except LabError as error:
        pytest.skip(str(error))
    with built:
        yield lambda plan: Parish(built, tmp_path, plan, sacristy, USER)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(),
        Plan(cathedrals=2, near=(0, 1), remembrance=True, shroud=True),
        Plan(tfc=True, p2p_sync=False, kek=False),
        Plan(nats=(NAT, None), mtu="auto", nat_detection=False, abroad=True),
    ],
    ids=["plain", "two-cathedrals-shroud", "tfc-one-secret", "two-flocks"],
)
def test_our_programs_take_every_file(build: Build, plan: Plan) -> None:
    parish = build(plan)
    for number, device in enumerate(parish.devices):
        loaded = config.load(device.config)
        assert loaded.cathedral is not None
        near = parish.cathedrals[plan.near[number]]
        assert loaded.cathedral.places[0] == (near.address, PORT)
        assert loaded.cathedral.nat_port == (NAT_PORT if plan.nat_detection else 0)
        assert (loaded.cathedral.kek is not None, device.secret.exists()) == (
            plan.kek,
            not plan.kek,
        )
        assert (loaded.shroud, loaded.tfc) == (plan.shroud, plan.tfc)
        assert loaded.flocks.own & 0xFF == DOMAIN
        assert (loaded.flocks.own != loaded.flocks.peer) == plan.abroad
    for cathedral in parish.cathedrals:
        server = server_config.load(cathedral.config)
        assert server.local == Address(cathedral.address, PORT)
        assert (server.shroud, server.p2p_sync) == (plan.shroud, plan.p2p_sync)
    draft = parse(parish.settings.read_text(), "settings")
    assert draft.problems == ()
    assert len(draft.federation) == plan.cathedrals


def test_both_ends_of_a_tunnel_are_allowed_as_far_as_the_plan_says(build: Build) -> None:
    draft = parse(build(Plan(mbit=16, abroad=True)).settings.read_text(), "settings")
    allows = {flock.id: tuple(flock.allows) for flock in draft.flocks}
    assert allows == {
        HOME: (Allow(LEFT.identity, LEFT.device, 16),),
        ABROAD: (Allow(RIGHT_ABROAD.identity, RIGHT_ABROAD.device, 16),),
    }
    assert list(draft.xflocks) == [(HOME, ABROAD)]


def test_a_home_is_reached_from_inside_only(build: Build) -> None:
    parish = build(Plan(nats=(NAT, NAT)))
    (east,) = parish.cathedrals
    left, right = parish.devices
    answers = [
        sender.host.call("chancel.lab.ping:ping", address, 2, 0.01, 56, True, 0.5)["received"]
        for sender, address in (
            (left, east.address),
            (right, east.address),
            (east, left.public),
            (left, right.address),
        )
    ]
    assert answers == [2, 2, 0, 0]


def test_wires_of_the_kernel_end_at_the_cathedral(build: Build) -> None:
    parish = build(Plan(kernel=True))
    (east,) = parish.cathedrals
    left, right = parish.devices
    answers = [
        sender.host.call("chancel.lab.ping:ping", address, 2, 0.01, 56, True, 0.5)["received"]
        for sender, address in (
            (left, east.address),
            (right, east.address),
            (east, left.public),
            (east, right.public),
            (left, right.public),
        )
    ]
    assert answers == [2, 2, 2, 2, 0]


def test_rolled_keys_open_and_the_settings_look_new(build: Build, sacristy: Sacristy) -> None:
    parish = build(Plan())
    before = int(parish.settings.stat().st_mtime)
    generations = [parish.roll(), parish.roll()]
    assert generations[0] != generations[1]
    assert int(parish.settings.stat().st_mtime) >= before + 2
    bundle = read(sacristy.bundle())
    assert bundle.header.generation == generations[1]
    ends = load_ends(sacristy.folder / "flocks", Flocks(HOME, HOME), SUITE)
    assert check(bundle, ends, SUITE, quiet).sound
    parish.write_settings(mbit=8)
    assert int(parish.settings.stat().st_mtime) >= before + 3


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    tool = ("sh", "-c", "echo out of wax >&2; exit 1", "ambry")
    with pytest.raises(ChancelError, match=r"ambry cosk-pair .*: out of wax"):
        Sacristy(tmp_path, tool)

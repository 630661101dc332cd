"""What enters one end's device comes out at the other end's, with offloads, without, or mixed.

Whatever the kernel gives is sent through each way that there is: trains as trains, cut by the left
end, joined by the right one, by the hot functions in Python or by their compiled twins; and packet
by packet. All must give the packets that the kernel itself would have cut, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chancel.daemon.hot import twins
from chancel.daemon.offloads import ALL, NONE, OF_SOCKET, Offload
from tests.daemon import frames as made
from tests.daemon.frames import Frame
from tests.daemon.paths import Kind, Path, Side

KINDS = {
    "tun": Kind(),
    "tap": Kind(tap=True),
    "shroud": Kind(shroud=True, mtu=1373),
    "tfc": Kind(tfc=True),
    "small": Kind(mtu=623),
}
COALESCE_FEW = Offload.COALESCE_TCP4 | Offload.COALESCE_UDP
EXAMPLES = {"tun": 60, "tap": 40, "shroud": 25, "tfc": 25, "small": 25}


def sides() -> list[tuple[Side, Side]]:
    """The ways to compare: offloads on, off and mixed; the same of compiled twins, if any."""
    ways = [(Side(a), Side(b)) for a in (ALL, NONE) for b in (ALL, NONE)]
    ways += [(Side(Offload.CHECKSUM | Offload.TSO6), Side(COALESCE_FEW)), (Side(), Side(OF_SOCKET))]
    if twins.module() is not None:
        compiled = [Side(offloads, twins.NAMES) for offloads in (ALL, NONE)]
        ways += [(each, each) for each in compiled]
        ways += [(compiled[0], Side()), (Side(), compiled[0])]
    return ways


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def paths(kind: str) -> Iterator[list[Path]]:
    with ExitStack() as ends:
        yield [ends.enter_context(Path(*each, KINDS[kind])) for each in sides()]


def carry(path: Path, frames: list[Frame]) -> list[Frame]:
    """What a way makes of the kernel's frames; one without offloads is given packets."""
    link = path.kind.link_bytes
    return path.carry([each for frame in frames for each in path.left.given(frame, link)])


def check(paths: list[Path], frames: list[Frame]) -> None:
    kind = paths[0].kind
    link = kind.link_bytes
    packets = [packet for frame in frames for packet in made.packets_of(frame, link)]
    expected = [packet for packet in packets if made.passes(packet, tap=kind.tap)]
    for path in paths:
        made.assert_carries(carry(path, frames), expected, link)


def traffic_of(kind: Kind) -> st.SearchStrategy[list[Frame]]:
    """Of TFC only what has the length that it says: it is cut to that."""
    if not kind.tfc:
        return made.traffic(kind.mtu + kind.link_bytes, kind.link)
    parts = st.one_of(made.trains(kind.mtu, kind.link), made.bursts(kind.mtu, kind.link))
    return made.interleaved(parts)


def test_all_ways_give_the_packets_that_the_kernel_would_cut(kind: str, paths: list[Path]) -> None:
    @settings(max_examples=EXAMPLES[kind], suppress_health_check=list(HealthCheck), database=None)
    @given(traffic_of(KINDS[kind]))
    def test(frames: list[Frame]) -> None:
        check(paths, frames)

    test()

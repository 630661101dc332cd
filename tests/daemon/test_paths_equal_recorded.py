"""What real kernels gave real devices, sent through every way that there is.

The recordings (``record``) are of programs that talked TCP and UDP through a tunnel, with trains,
acknowledgements, congestion marks, urgent data, fragments, options and a small MTU.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from tests.daemon import frames as made
from tests.daemon import record
from tests.daemon.frames import Frame
from tests.daemon.naive import CWR, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NO_VNET, VNET
from tests.daemon.network import InNetwork
from tests.daemon.paths import WINDOW_PACKETS, Kind, Path
from tests.daemon.segmenter import Segmenter, cuts_udp
from tests.daemon.test_paths_equal import KINDS, sides

ECE = 0x40
REFUSED = {"hop-by-hop", "destination-options"}
"""Recordings of which the receiver's filter lets nothing pass."""

MOST_BYTES = 300 * 1024
"""Of all recordings together."""

CASES = {
    "tun": record.names(),
    "tap": record.names(),
    "shroud": ["tcp4-small-mtu", "udp4", "uso6"],
    "tfc": ["tcp6", "udp4", "fragments4"],
}
"""Which recordings go through which kind of tunnel: those that are slow get a few."""


def recorded(name: str, kind: Kind) -> list[Frame]:
    """A recording as the device of this kind of tunnel gives it, as far as its MTU lets pass."""
    frames = []
    for frame in record.load(name):
        before = kind.link(frame.data[0] >> 4)
        flags, gso, head, segment, start, field = VNET.unpack(frame.vnet)
        added = len(before) if frame.vnet != NO_VNET else 0
        vnet = VNET.pack(flags, gso, head + added, segment, start + added, field)
        if len(frame.data) <= kind.mtu or (segment and head + segment <= kind.mtu):
            frames.append(Frame(vnet, before + frame.data))
    return frames


def carry(path: Path, cut: list[tuple[Frame, list[bytes]]]) -> list[Frame]:
    """What comes out at the other end of frames, whose packets are known, sent in portions that no
    socket is too small for."""
    came: list[Frame] = []
    portion: list[Frame] = []
    under_way = 0
    for frame, packets in cut:
        portion += path.left.given(frame, path.kind.link_bytes)
        under_way += len(packets)
        if under_way >= WINDOW_PACKETS:
            came += path.carry(portion)
            portion, under_way = [], 0
    return came + path.carry(portion)


@pytest.mark.parametrize("case", list(CASES))
def test_a_recording_comes_out_as_it_went_in(case: str) -> None:
    kind = KINDS[case]
    with ExitStack() as ends:
        paths = [ends.enter_context(Path(*each, kind)) for each in sides()]
        for name in CASES[case]:
            frames = recorded(name, kind)
            cut = [(frame, made.packets_of(frame, kind.link_bytes)) for frame in frames]
            every = [packet for _, packets in cut for packet in packets]
            passing = [packet for packet in every if made.passes(packet, tap=kind.tap)]
            assert passing or name in REFUSED
            for path in paths:
                came = carry(path, cut)
                made.assert_carries(came, passing, kind.link_bytes)


@pytest.mark.skipif(not cuts_udp(), reason="needs Linux 6.2 or later, which cuts UDP")
def test_a_kernel_still_cuts_the_recordings_as_the_tests_do(in_network: InNetwork) -> None:
    def test() -> None:
        with Segmenter() as kernel:
            for name in record.names():
                for frame in record.load(name):
                    assert kernel.cut(frame, 0) == made.packets_of(frame, 0)

    in_network(test)


def test_the_recordings_have_what_they_are_for() -> None:
    assert sum(path.stat().st_size for path in record.FOLDER.iterdir()) < MOST_BYTES
    seen: Counter[str] = Counter()
    for name in record.names():
        for vnet, data in record.load(name):
            version, gso = data[0] >> 4, vnet[1] & ~made.GSO_ECN
            seen[f"IPv{version} {gso}"] += 1
            seen[f"{name} more"] += len(data) > 1422
            start = (data[0] & 0x0F) * 4 if version == 4 else 40
            if gso in (GSO_TCPV4, GSO_TCPV6) and vnet[1] & made.GSO_ECN:
                seen["train with CWR"] += bool(data[start + 13] & CWR)
            if name.startswith("ecn") and gso == GSO_NONE:
                seen["ECE"] += bool(data[start + 13] & ECE)
    wanted = [
        *(f"IPv4 {gso}" for gso in (GSO_NONE, GSO_TCPV4, GSO_UDP_L4)),
        *(f"IPv6 {gso}" for gso in (GSO_NONE, GSO_TCPV6, GSO_UDP_L4)),
        *("train with CWR", "ECE", "tcp4 more", "ecn6 more", "tcp4-small-mtu more", "uso6 more"),
    ]
    assert all(seen[each] for each in wanted), seen

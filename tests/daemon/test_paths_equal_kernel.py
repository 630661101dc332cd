"""The kernel as the judge of both ends: it cuts what enters a tunnel, and what comes out of it.

Nothing of ours decides here what is right: neither a hot function nor the tests' own way of cutting
(``naive``), which is itself compared with the kernel.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings

from chancel.daemon.offloads import ALL, NONE
from tests.daemon import frames as made
from tests.daemon.frames import Frame
from tests.daemon.naive import GSO_NONE, TCP, VNET
from tests.daemon.network import InNetwork
from tests.daemon.paths import Kind, Path, Side
from tests.daemon.segmenter import Segmenter, cuts_udp
from tests.daemon.test_paths_equal_hostile import lying, named

KINDS = [Kind(), Kind(tap=True)]

BACKLOG_PACKETS = 900
"""Of a train with more packets than about these, the kernel's own queue loses some."""

pytestmark = pytest.mark.skipif(not cuts_udp(), reason="needs Linux 6.2 or later, which cuts UDP")


def test_the_kernel_cuts_as_the_other_tests_say_that_it_does(in_network: InNetwork) -> None:
    def test() -> None:
        with Segmenter() as kernel:
            for kind in KINDS:
                judged = compare_with_naive(kernel, kind)
                assert judged > 100

    in_network(test)


def compare_with_naive(kernel: Segmenter, kind: Kind) -> int:
    """Returns how many frames the kernel took; it takes no train of one segment, for example."""
    judged = 0

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(made.traffic(1422 + kind.link_bytes, kind.link))
    def test(frames: list[Frame]) -> None:
        nonlocal judged
        for frame in frames:
            packets = kernel.cut(frame, kind.link_bytes)
            if packets is not None:
                assert packets == made.packets_of(frame, kind.link_bytes)
                judged += 1

    test()
    return judged


@pytest.mark.parametrize("kind", KINDS, ids=["tun", "tap"])
def test_what_comes_out_is_cut_into_what_went_in(in_network: InNetwork, kind: Kind) -> None:
    def test() -> None:
        with ExitStack() as ends:
            kernel = ends.enter_context(Segmenter())
            paths = [
                ends.enter_context(Path(Side(a, names), Side(b, names), kind))
                for names in named()
                for a, b in ((ALL, ALL), (NONE, ALL))
            ]
            compare_ways(kernel, paths)

    in_network(test)


def compare_ways(kernel: Segmenter, paths: list[Path]) -> None:
    kind = paths[0].kind
    link = kind.link_bytes

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)
    @given(made.traffic(1422 + link, kind.link))
    def test(frames: list[Frame]) -> None:
        taken = [(frame, kernel.cut(frame, link)) for frame in frames]
        entering = [frame for frame, packets in taken if packets is not None]
        packets = [packet for _, packets in taken for packet in packets or ()]
        expected = [packet for packet in packets if made.passes(packet, tap=kind.tap)]
        for path in paths:
            came = path.carry([e for frame in entering for e in path.left.given(frame, link)])
            assert identified(kernel, came, link) == [
                made.without_identity(each, link) for each in expected
            ]

    test()


def identified(kernel: Segmenter, came: list[Frame], link: int) -> list[bytes]:
    """The packets that the kernel makes of what was written to a device."""
    found: list[bytes] = []
    for frame in came:
        packets = kernel.cut(frame, link)
        assert packets is not None, f"the kernel refuses {VNET.unpack(frame.vnet)}"
        found += [made.without_identity(each, link) for each in packets]
    return found


@pytest.mark.parametrize("tap", [False, True], ids=["tun", "tap"])
def test_of_lying_headers_nothing_comes_that_the_kernel_would_not_make(
    in_network: InNetwork, tap: bool
) -> None:
    """Where the kernel cuts a frame, or completes its checksum, all of it comes out or nothing.

    A train of one packet isn't cut by it, so what is wrong in that stays wrong; neither does it
    ever give one to a device. Of a train's transport checksum the kernel believes what is in the
    field so far, and we add up the whole: where that lies, its packets are refused by whoever gets
    them, and ours not.
    """

    def test() -> None:
        with ExitStack() as ends:
            kernel = ends.enter_context(Segmenter())
            paths = [
                ends.enter_context(Path(Side(ALL, names), Side(ALL, names), Kind(tap=tap)))
                for names in named()
            ]
            judged = compare_lies(kernel, paths)
            assert judged > 20

    in_network(test)


def compare_lies(kernel: Segmenter, paths: list[Path]) -> int:
    """Returns how many frames both the kernel and we made packets of."""
    kind, judged = paths[0].kind, 0
    link = kind.link_bytes

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(lying(kind.tap))
    def test(frame: Frame) -> None:
        nonlocal judged
        packets = kernel.cut(frame, link) or []
        plain = gso_of(frame) == GSO_NONE
        expected = [
            comparable(packet, link, plain=plain)
            for packet in packets
            if made.passes(packet, tap=kind.tap)
        ]
        is_judge = plain or 1 < len(packets) < BACKLOG_PACKETS
        for path in paths:
            came = [p for each in path.carry([frame]) for p in made.packets_of(each, link)]
            if expected and came and is_judge:
                judged += 1
                assert [comparable(each, link, plain=plain) for each in came] == expected

    test()
    return judged


def gso_of(frame: Frame) -> int:
    return frame.vnet[1] & ~made.GSO_ECN


def comparable(packet: bytes, link: int, *, plain: bool) -> bytes:
    """What of a packet has to be equal: all, but in a train the transport's checksum."""
    if plain:
        return made.without_identity(packet, link)
    tcp = packet[link + (9 if packet[link] >> 4 == 4 else 6)] == TCP
    start = link + ((packet[link] & 0x0F) * 4 if packet[link] >> 4 == 4 else 40)
    at = start + (16 if tcp else 6)
    return made.without_identity(packet[:at] + bytes(2) + packet[at + 2 :], link)

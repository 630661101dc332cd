"""What lies: virtio headers that don't fit their packets, and trains with forged datagrams in them.

A local user can write any packet, and the header of a big one comes with it; anybody can send
datagrams that the kernel joins to those of the peer. Whatever makes no sense is dropped and
counted; what is left comes out as the kernel would have cut it, the same on every way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chancel.daemon.hot import twins
from chancel.daemon.offloads import ALL, Offload
from chancel.wire.drop import Drop
from tests.daemon import frames as made
from tests.daemon.frames import Frame
from tests.daemon.naive import NO_VNET, UDP, VNET, Flow, train
from tests.daemon.paths import Datagram, Kind, Path, Side
from tests.daemon.running import eventually

MOST_PAYLOAD = 1_500
"""Of a lying frame: each of its bytes may be said to be a segment."""

HARMLESS = {
    Drop.DEVICE_READ_SHORT,
    Drop.DEVICE_READ_LONG,
    Drop.INNER_TOO_SHORT,
    Drop.INNER_VERSION,
    Drop.INNER_PROTOCOL,
    Drop.INNER_ADDRESS,
    Drop.INNER_ETHERTYPE,
}
FORGED = {
    Drop.BAD_TAG,
    Drop.DUPLICATE,
    Drop.FLOCK_MISMATCH,
    Drop.SEQUENCE_MISMATCH,
    Drop.TOO_OLD,
    Drop.UNKNOWN_SPI,
    Drop.ZERO_SPI,
}

WITHOUT_GRO = ALL & ~Offload.GRO


def named() -> list[tuple[str, ...]]:
    """The twins to compare."""
    return [(), twins.NAMES] if twins.module() is not None else [()]


@pytest.fixture(scope="module", params=[False, True], ids=["tun", "tap"])
def paths(request: pytest.FixtureRequest) -> Iterator[list[Path]]:
    """Ways with all offloads, by each mixture of twins."""
    with ExitStack() as ends:
        yield [
            ends.enter_context(Path(Side(ALL, left), Side(ALL, right), Kind(tap=request.param)))
            for left in named()
            for right in named()
        ]


@st.composite
def lying(draw: st.DrawFn, tap: bool) -> Frame:
    """A big packet with a header of which some fields say something else."""
    flow = draw(made.flows)
    before = Kind(tap=tap).link(flow.version)
    payload = made.noise(draw(st.integers(0, 9)), draw(st.integers(0, MOST_PAYLOAD)))
    packet = before + flow.packet(payload, partial=True, identity=0xFFF0, sequence=2**32 - 50)
    size = len(packet)
    places = st.one_of(
        st.sampled_from([0, 1, 13, 14, 19, 20, 21, 34, 40, 54, 0xFFFE, 0xFFFF]),
        st.integers(-3, 3).map(lambda n: max(0, size + n)),
        st.integers(0, 80),
    )
    sizes = st.one_of(
        st.sampled_from([0, 1, 2, 3, 1400, 1431, 1432, 1433, 1472, 1473, 0x7FFF, 0xFFFF]),
        st.integers(1, 1500),
    )
    fields = list(VNET.unpack(flow.vnet(draw(sizes), shift=len(before))))
    for field in draw(st.lists(st.integers(0, 5), max_size=3, unique=True)):
        values = st.integers(0, 255) if field < 2 else sizes if field == 3 else places
        fields[field] = draw(values)
    changed = bytearray(packet)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3)):
        changed[at % size] = value
    cut_at = draw(st.one_of(st.just(size), st.integers(1, size)))
    return Frame(VNET.pack(*fields), bytes(changed[:cut_at]))


def meant(frame: Frame, tap: bool) -> list[bytes]:
    """What the kernel would make of a frame, as far as it passes; nothing of nonsense."""
    try:
        packets = made.packets_of(frame, Kind(tap=tap).link_bytes)
    except (ValueError, IndexError, OverflowError, ArithmeticError, struct.error):
        return []
    return [each for each in packets if made.passes(each, tap=tap)]


def left_over(came: list[bytes], frames: list[Frame], tap: bool) -> list[bytes]:
    """Of the packets that came, those that no frame stands for. A frame gives all of its packets,
    or none."""
    link = Kind(tap=tap).link_bytes
    for frame in frames:
        packets = [made.without_identity(each, link) for each in meant(frame, tap)]
        if came[: len(packets)] == packets:
            came = came[len(packets) :]
    return came


def test_lying_headers_are_cut_as_the_kernel_would_or_dropped(paths: list[Path]) -> None:
    tap, link = paths[0].kind.tap, paths[0].kind.link_bytes

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(lying(tap), min_size=1, max_size=3))
    @example([Frame(VNET.pack(1, 1, 0, 0, 20, 16), Flow().packet(bytes(900)))])
    @example([Frame(VNET.pack(1, 1, 0, 0xFFFF, 20, 16), Flow().packet(bytes(900)))])
    @example([Frame(VNET.pack(1, 5, 0, 1, 0xFFFF, 6), Flow(protocol=UDP).packet(bytes(900)))])
    @example([Frame(VNET.pack(1, 0, 0, 0, 0xFFFF, 0xFFFF), Flow().packet(bytes(900)))])
    def test(frames: list[Frame]) -> None:
        results = []
        for path in paths:
            came = path.carry(frames, packets=MOST_PAYLOAD)
            packets = [each for frame in came for each in made.packets_of(frame, link)]
            results.append([made.without_identity(each, link) for each in packets])
        assert all(each == results[0] for each in results)
        assert left_over(results[0], frames, tap) == []

    test()
    for path in paths:
        assert path.drops().keys() <= HARMLESS
        eventually(path.accounted)


class Cast(NamedTuple):
    """What becomes of a datagram on its way: it stays as it is unless something is set."""

    flip: int | None = None
    """A bit that is turned over, counted from the start and modulo what there is."""
    again: int | None = None
    """Instead of it, one that was sent so many before it."""
    noise: bool = False


casts = st.one_of(
    st.just(Cast()),
    st.just(Cast()),
    st.just(Cast()),
    st.builds(Cast()._replace, flip=st.integers(0, 12_000)),
    st.builds(Cast()._replace, flip=st.integers(0, 32 * 8)),
    st.builds(Cast()._replace, again=st.integers(1, 70)),
    st.builds(Cast()._replace, noise=st.just(True)),
)


def cast(sent: list[Datagram], kinds: list[Cast]) -> list[bytes]:
    """The datagrams as somebody on the way makes them, of the same sizes."""
    arriving = []
    for i, (datagram, kind) in enumerate(zip(sent, kinds, strict=True)):
        data = bytearray(datagram.data)
        if kind.flip is not None:
            at = kind.flip % (8 * len(data))
            data[at // 8] ^= 1 << at % 8
        if kind.again is not None and i:
            data = bytearray(sent[max(0, i - kind.again)].data)
        if kind.noise:
            data = bytearray(made.noise(i, len(data)))
        arriving.append(bytes(data))
    return arriving


@pytest.fixture(scope="module")
def relayed() -> Iterator[list[Path]]:
    """Ways whose network is the test, with trains taken as trains and without, by each twin."""
    with ExitStack() as ends:
        yield [
            ends.enter_context(Path(Side(), Side(right, names), Kind(), relayed=True))
            for right in (ALL, WITHOUT_GRO)
            for names in named()
        ]


def test_good_datagrams_survive_in_a_train_with_forged_ones(relayed: list[Path]) -> None:
    refused = [0] * len(relayed)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(
        st.sampled_from([Flow(), Flow(protocol=UDP)]),
        st.lists(casts, min_size=2, max_size=40),
        st.integers(1, 1380),
        st.integers(0, 1379),
    )
    @example(Flow(), [Cast(flip=400), *[Cast()] * 20], 1300, 0)
    @example(Flow(), [*[Cast()] * 20, Cast(noise=True)], 1300, 1000)
    @example(Flow(), [Cast(flip=400), Cast(again=1), Cast(again=1)], 1300, 0)
    def test(flow: Flow, kinds: list[Cast], size: int, shorter: int) -> None:
        packets = train(flow, len(kinds), size, max(1, size - shorter))
        for i, path in enumerate(relayed):
            sent = path.overhear([Frame(NO_VNET, each) for each in packets])
            assert [each.payload for each in sent] == packets
            arriving = cast(sent, kinds)
            path.relay(b"".join(arriving), len(sent[0].data))
            payloads = {each.data: each.payload for each in sent}
            good = [payloads[each] for each in dict.fromkeys(arriving) if each in payloads]
            made.assert_carries(arrived(path), good, 0)
            refused[i] += len(kinds) - len(good)

    test()
    for path, count in zip(relayed, refused, strict=True):
        eventually(lambda: sum(path.drops().values()) == count)  # noqa: B023
        assert path.drops().keys() <= FORGED


def arrived(path: Path) -> list[Frame]:
    """What the right device was given, up to now."""
    mark = path.mark()
    (datagram,) = path.overhear([Frame(NO_VNET, mark)])
    path.relay(datagram.data, len(datagram.data))
    return path.until(mark)

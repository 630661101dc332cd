"""All that a tunnel carries arrives whole, with offloads and the accelerator or without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chancel.daemon.hot import twins
from chancel.daemon.offloads import ALL, COALESCE, NONE, TSO, USO, Offload, states
from chancel.wire.drop import Drop
from tests.e2e.ends import End, Pair

MTU = 1422
IP_AND_ICMP_BYTES = 28
FULL = MTU - IP_AND_ICMP_BYTES
TCP_BYTES = 6_000_000
SIZES = [10, 11, 700, FULL, FULL, 64, FULL, 1000, 12, 12, 12, FULL - 1]
LEFT, RIGHT = "10.77.0.1", "10.77.0.2"


class Kind(NamedTuple):
    """What the files say at the left end and the right; what is then on of the offloads."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    offloads: Offload = ALL


ONLY_READING = ("offload off", "offload on tso uso")
ONLY_WRITING = ("offload off", "offload on coalesce gro")
PYTHON = "accelerator off"
KINDS = {
    "all": Kind((), ()),
    "none": Kind(("offload off",), ("offload off",), NONE),
    "python": Kind((PYTHON,), (PYTHON,)),
    "some, one end python": Kind(
        ONLY_READING, (*ONLY_READING, PYTHON), TSO | USO | Offload.CHECKSUM
    ),
    "others": Kind(ONLY_WRITING, ONLY_WRITING, COALESCE | Offload.GRO),
}


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def running(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Pair]:
    kind: Kind = request.param
    name = pair.configure(0, str(MTU))
    for end, lines in zip(pair.ends, (kind.left, kind.right), strict=True):
        with (end.home / f"{name}.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
    pair.start()
    yield pair
    installed = "not installed" if twins.module() is None else "on"
    for end, lines in zip(pair.ends, (kind.left, kind.right), strict=True):
        tunnel = end.tunnel(name)
        assert set(tunnel["drops"]) <= {Drop.NO_KEY, Drop.OFFER_UNEXPECTED}
        assert tunnel["offloads"] == states(kind.offloads, kind.offloads)
        group = end.ask({"do": "status"})["group"]
        assert group["accelerator"] == ("off" if PYTHON in lines else installed)
    assert pair.stop() == [0, 0]


def ways(pair: Pair) -> list[tuple[End, End, str]]:
    """Both directions: sender, receiver, the receiver's address in the tunnel."""
    return [(pair.left, pair.right, RIGHT), (pair.right, pair.left, LEFT)]


def test_pings_of_all_sizes_come_back(running: Pair) -> None:
    for end, _, address in ways(running):
        for size in (0, 56, FULL):
            assert end.ping(address, 10, 0.01, size) == 10
        assert end.ping(address, 1, 0.01, FULL + 1, timeout_s=0.3) == 0


def test_packets_larger_than_the_tunnel_travel_in_fragments(running: Pair) -> None:
    for end, _, address in ways(running):
        assert end.ping(address, 5, 0.01, 4000, df=False) == 5


def test_tcp_streams_arrive_whole(running: Pair) -> None:
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("chancel.lab.bulk:receive", address, 5201, True)
        next(receiving.progress)
        sent = sender.host.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
        received = receiving.result()
        assert (received["bytes"], received["sha256"]) == (TCP_BYTES, sent["sha256"])


def test_udp_packets_of_mixed_sizes_arrive_whole_and_in_order(running: Pair) -> None:
    for sender, receiver, address in ways(running):
        receiving = receiver.host.start("tests.e2e.inside:tally", 1)
        next(receiving.progress)
        count = sender.host.call("tests.e2e.inside:stream", [address], 1.0, 500.0, SIZES)
        (seen,) = receiving.result().values()
        assert seen == {"packets": count, "highest": count - 1, "reordered": 0, "damaged": 0}

"""The order in which a tunnel sends, as somebody between its ends sees it, under mixed traffic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon.test_reordering import MOST_POSITIONS, positions
from tests.e2e.ends import Pair

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
SIZES = [10, 11, 700, 1300, 1300, 64, 1300, 1000, 12, 12]
TCP_BYTES = 3_000_000
LEAST_DATAGRAMS = 500


@pytest.fixture(scope="module", params=["on", "off"])
def running(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Pair]:
    pair.configure(0, "1422", f"offload {request.param}")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


def test_no_packet_is_sent_more_than_63_positions_late(running: Pair) -> None:
    """TCP both ways and UDP of mixed sizes at once; numbers are those of the datagrams' headers."""
    left, right = running.ends
    hearing = left.host.start("tests.e2e.inside_numbers:numbers", "eth0", 2300, LEAST_DATAGRAMS)
    next(hearing.progress)
    receiving = [
        end.host.start("chancel.lab.bulk:receive", address, 5201, True)
        for end, address in ((right, RIGHT), (left, LEFT))
    ]
    for each in receiving:
        next(each.progress)
    sending = [
        left.host.start("chancel.lab.bulk:send", RIGHT, 5201, None, TCP_BYTES, True),
        right.host.start("chancel.lab.bulk:send", LEFT, 5201, None, TCP_BYTES, True),
        left.host.start("tests.e2e.inside:stream", [RIGHT], 2.0, 500.0, SIZES),
    ]
    for stream in sending[:2]:
        stream.result()
    seen = hearing.result()
    sending[2].result()
    assert [each.result()["bytes"] for each in receiving] == [TCP_BYTES] * 2
    for direction in ("in", "out"):
        pairs = seen[direction]
        assert len(pairs) >= LEAST_DATAGRAMS
        for key in {spi for spi, _ in pairs}:
            assert positions(number for spi, number in pairs if spi == key) <= MOST_POSITIONS

"""What a group weighs, alone and with many tunnels: ratios, and a bound with room for other builds
of the libraries and for modules that are compiled at each start, as here."""

from __future__ import annotations

from tests.e2e.ends import End, Pair

LIMIT_MB = 80.0
TUNNELS = 64
STARTED_LIMIT_S = 300.0
"""Bounds a hang; 64 tunnels need a few seconds of work."""


def weight_mb(end: End) -> float:
    pids = list(end.processes().values())
    return float(end.host.call("tests.e2e.inside_memory:alone_kb", pids)) / 1024


def test_a_group_of_one_tunnel_is_small_and_one_of_64_no_more_than_twice_that(pair: Pair) -> None:
    pair.configure(0, "1422")
    pair.start()
    assert pair.left.ping("10.77.0.2") == 5
    one = weight_mb(pair.left)
    assert pair.stop() == [0, 0]

    for number in range(TUNNELS):
        pair.configure(number, "1422")
    for end in pair.ends:
        end.start()
    for end in pair.ends:
        end.wait_up(STARTED_LIMIT_S)
    many = weight_mb(pair.left)
    for end in pair.ends:
        assert end.program is not None
        end.program.terminate()
    assert [end.program.wait(STARTED_LIMIT_S) for end in pair.ends if end.program] == [0, 0]

    assert one <= LIMIT_MB
    assert many <= 2 * one

"""The runs of a lane's token lie within their slot, or the token raises ValueError.

A *run* is a row of packets in a slot; a *token* carries the runs of one batch between processes.
"""

from __future__ import annotations

from collections.abc import Iterator

from chancel.daemon.run import (
    MAX_PACKET_BYTES,
    MAX_RUN_PACKETS,
    MAX_RUNS,
    Run,
    decode_runs,
    encode_runs,
)

SLOT_BYTES = 64 * 1024


def check(data: bytes) -> None:
    try:
        runs = decode_runs(data, SLOT_BYTES)
    except ValueError:
        return
    assert len(runs) <= MAX_RUNS
    for run in runs:
        assert 1 <= run.packets <= MAX_RUN_PACKETS
        assert 1 <= run.last <= run.size <= MAX_PACKET_BYTES
        assert 0 <= run.offset < run.end <= SLOT_BYTES
        assert run.end == run.offset + (run.packets - 1) * run.size + run.last
    assert decode_runs(encode_runs(runs), SLOT_BYTES) == runs


def seeds() -> Iterator[bytes]:
    source = b"\0" * 10 + b"\xff\xff" + bytes((192, 0, 2, 1)) + b"\x09\x1d"
    yield encode_runs([Run(0, 0, 46, 1424, 700, 0, source)])
    yield encode_runs([Run(255, 0xFC, 1, 623, 623, SLOT_BYTES - 623, source)] * 3)

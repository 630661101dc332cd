"""One real duty whose neighbours are the test: it writes and reads the other ends of its lanes."""

from __future__ import annotations

import os

from chancel.daemon.config_types import Mode
from chancel.daemon.lane import Batch, LaneReader, LaneWriter
from chancel.daemon.link import KeyLink
from chancel.daemon.process import Process
from chancel.daemon.run import Run
from chancel.daemon.topology import Wiring, of
from chancel.wire.traffic import NEXT_INNER
from tests.daemon import wirings


class Bench:
    """The wiring of a group of which one duty is real, and its neighbours are the test."""

    def __init__(self, duty: str) -> None:
        self._wiring = wiring = Wiring.make(of(Mode.TUNNEL))
        self._mapped = wiring.memories(duty)
        # An end closes the memory that it has mapped, as the other one would in its own process.
        self._lanes = {
            name: lane._replace(memory=os.dup(lane.memory)) for name, lane in wiring.lanes.items()
        }
        self.process = Process(duty, wiring)

    def close(self) -> None:
        for lane in self._lanes.values():
            os.close(lane.memory)
        wirings.close(self._wiring, self._mapped)

    def writer(self, lane: str) -> LaneWriter:
        return LaneWriter(self._lanes[lane])

    def reader(self, lane: str) -> LaneReader:
        return LaneReader(self._lanes[lane])

    def keys(self, link: str) -> KeyLink:
        """The end from which keys come."""
        own = self.process.key_links[link].fileno()
        (other,) = (end for end in self._wiring.key_links[link] if end.fileno() != own)
        return KeyLink(other)


def put(writer: LaneWriter, packets: list[bytes], source: bytes = bytes(18)) -> None:
    """Hand a batch of one run over."""
    memory = writer.wait_slot()[1]
    data = b"".join(packets)
    memory[: len(data)] = data
    size = len(packets[0])
    writer.send([Run(0, NEXT_INNER, len(packets), size, size, 0, source)])


def taken(reader: LaneReader) -> list[bytes]:
    """The packets of the next batch, if there is one."""
    batch = reader.receive()
    if batch is None:
        return []
    packets = packets_of(batch)
    reader.release(batch)
    return packets


def packets_of(batch: Batch) -> list[bytes]:
    return [
        bytes(batch.memory[at : at + (run.last if at + run.last == run.end else run.size)])
        for run in batch.runs
        for at in range(run.offset, run.offset + run.packets * run.size, run.size)
    ]

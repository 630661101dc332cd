"""A lane: batches of packets, one way, between exactly two processes.

Slots lie in a memfd that only the two ends map, the reader read-only. Ownership of a slot passes by
a token through a SEQPACKET socket pair: the writer's token carries the slot's number and its runs,
the reader's token gives the number back. So nothing relies on one processor's memory order, and the
batch header travels through the kernel: the reader parses a private copy that the other end can no
longer change. The packets can change under the reader: whoever judges them before it uses them
works on a copy (:class:`LaneCopy`). From the writer's mapping on nobody else can map the memory
writable, and nobody at all resize it.

Rejected: ring indices in shared memory with an eventfd. Measured within noise of this (the notes in
``docs/decisions/003-lanes.md``), and it needs fences that Python doesn't have.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from chancel.daemon import linux
from chancel.daemon.hot import twins
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.linux import SEAL_FUTURE_WRITE, SEAL_SIZE, seal
from chancel.daemon.run import (
    LONE,
    LONE_BYTES,
    MAX_PACKET_BYTES,
    MAX_RUN_PACKETS,
    MAX_RUNS,
    RUN_BYTES,
    Run,
    decode_token,
    encode_token,
    is_lone,
)
from chancel.errors import LinkClosed

if TYPE_CHECKING:
    from chancel.daemon.hot.views import SlotView

SLOT_BYTES = 512 * 1024
"""One slot: seven 64 KiB reads and what sealing adds to them. Each turn of a process fetches its
program from memory anew, so fewer and larger batches cost less (decision 022)."""

SLOTS = 6
"""Slots of a lane: enough that neighbours hardly wait for each other, few enough that bulk goes on
in those that are still in the cache."""

_TOKEN_BYTES = 1 + MAX_RUNS * RUN_BYTES
_MAX_SLOTS = 255

_new = tuple.__new__  # Run._make, without its Python


class LaneEnds(NamedTuple):
    """What the guardian makes before it forks: one memory object, two ends of a socket pair."""

    memory: int
    slots: int
    slot_bytes: int
    writer: socket.socket
    reader: socket.socket


def make_lane(name: str, slots: int, slot_bytes: int = SLOT_BYTES) -> LaneEnds:
    """Make a lane's memory and its doorbell; nothing is mapped yet."""
    memory = os.memfd_create(f"lane-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, slots * slot_bytes)
    seal(memory, SEAL_SIZE)
    writer, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writer.setblocking(False)
    reader.setblocking(False)
    return LaneEnds(memory, slots, slot_bytes, writer, reader)


def _patience(slots: int) -> int:
    """How many lone packets may pass before the reader gives their slots back, all at once.

    A token each would cost two system calls in the way of every such packet. Half of the slots
    stay with the writer meanwhile, so it never waits for what the reader merely keeps.
    """
    return max(1, slots // 2)


def _view(memory: memoryview) -> SlotView:
    # Not with this module, which commands load as well: arrays bring threads, and who has threads
    # can't enter a namespace of users.
    from chancel.daemon.hot.views import SlotView

    return SlotView(memory)


def _views(memory: memoryview, ends: LaneEnds) -> list[SlotView]:
    size = ends.slot_bytes
    return [_view(memory[at : at + size]) for at in range(0, ends.slots * size, size)]


class LaneWriter:
    """The writing end. A slot is ours from :meth:`slot` until :meth:`send`."""

    def __init__(self, ends: LaneEnds) -> None:
        self._map(ends)
        self._free = list(range(ends.slots))
        self._out: set[int] = set()
        self._owed = 0
        self._patience = _patience(ends.slots)
        self._current: int | None = None

    def _map(self, ends: LaneEnds) -> None:
        self.slot_bytes = ends.slot_bytes
        self._socket = ends.writer
        self._memory = linux.map_memory(ends.memory, ends.slots * ends.slot_bytes, writable=True)
        seal(ends.memory, SEAL_FUTURE_WRITE)
        self.views = _views(self._memory, ends)
        """The slots, by their numbers: to be written while they are ours."""
        self.watch: Callable[[list[Run]], None] | None = None
        """Told of each batch that leaves, while somebody traces."""

    def fileno(self) -> int:
        """Readable when the reader has given a slot back (or is gone)."""
        return self._socket.fileno()

    def slot(self) -> tuple[int, memoryview] | None:
        """Number and memory of the slot to fill next; ``None`` while the reader holds them all."""
        if self._current is None:
            if self._owed >= self._patience or not self._free:
                self._reclaim()
            if not self._free:
                return None
            self._current = self._free.pop()
        return self._current, self.views[self._current].memory

    def wait_slot(self) -> tuple[int, memoryview]:
        """Like :meth:`slot`, but wait for the reader: the lane pushes back on its writer."""
        while (slot := self.slot()) is None:
            _wait(self._socket, select.POLLIN)
        return slot

    def wait_view(self) -> SlotView:
        """The view of that slot."""
        return self.views[self.wait_slot()[0]]

    def send(self, runs: list[Run]) -> None:
        """Hand the current slot over. Raises ``LinkClosed`` when the reader is gone."""
        if self._current is None:
            raise ValueError("no slot was taken")
        self.hand_over(self._current, encode_token(self._current, runs), lone=is_lone(runs))
        if self.watch is not None:
            self.watch(runs)

    def hand_over(self, slot: int, token: bytes, *, lone: bool) -> None:
        """What :meth:`send` does, for who makes the token of his one run himself.

        Nobody is told who watches. Raises ``LinkClosed`` when the reader is gone.
        """
        while True:
            try:
                self._socket.send(token)
            except BlockingIOError:  # the reader has yet to take tokens of many runs
                _wait(self._socket, select.POLLOUT)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise LinkClosed("the reader of a lane is gone") from error
            else:
                break
        self._out.add(slot)
        self._owed += 1 if lone else self._patience
        self._current = None

    def _reclaim(self) -> None:
        """Take slots back, if a token has come: the last one back is used next, still in cache."""
        self._owed = 0
        try:
            token = self._socket.recv(_MAX_SLOTS)
        except BlockingIOError:
            return
        except ConnectionResetError as error:
            raise LinkClosed("the reader of a lane is gone") from error
        if not token:
            raise LinkClosed("the reader of a lane is gone")
        for number in token:
            if number not in self._out:
                raise NeighbourLied("a slot of a lane was given back that was not out")
            self._out.remove(number)
            self._free.append(number)


def _wait(end: socket.socket, events: int) -> None:
    poll = select.poll()
    poll.register(end, events)
    poll.poll()


class Batch(NamedTuple):
    """A slot and its runs, the reader's until it is released. ``slot`` numbers the memory."""

    slot: int
    memory: memoryview
    runs: list[Run]


class LaneCopy:
    """Memory of the reader's own, for batches that the writer must not change under its hands.

    Decrypting reads a packet twice, once for the tag and once for the text; a filter looks first
    and lets pass afterwards. Copying costs a few microseconds for a whole batch, and the slot goes
    back to the writer at once.
    """

    def __init__(self, lane: LaneReader) -> None:
        self._lane = lane
        self.memory = linux.untouched_memory(lane.slot_bytes)
        self.view = _view(self.memory)

    def take(self, memory: memoryview, run: Run) -> SlotView:
        """Copy a run to where it lies in its slot; the view of the copy."""
        first, end = run.offset, run.end
        self.memory[first:end] = memory[first:end]
        return self.view

    def receive(self) -> list[Run] | None:
        """Copy the next batch to :attr:`memory` and release it; its runs, or ``None``.

        Raises as :meth:`LaneReader.receive` does.
        """
        batch = self._lane.receive()
        if batch is None:
            return None
        if batch.runs:
            first, end = batch.runs[0].offset, batch.runs[-1].end
            self.memory[first:end] = batch.memory[first:end]
        self._lane.release(batch)
        return batch.runs


class LaneReader:
    """The reading end. A batch is ours from :meth:`receive` until :meth:`release`."""

    def __init__(self, ends: LaneEnds) -> None:
        self._map(ends)
        self._kept = bytearray()
        self._patience = _patience(ends.slots)
        self._token = b""
        """Of the batch that was looked at, and not taken."""

    def _map(self, ends: LaneEnds) -> None:
        self.slot_bytes = ends.slot_bytes
        self._socket = ends.reader
        self._memory = linux.map_memory(ends.memory, ends.slots * ends.slot_bytes, writable=False)
        self.views = _views(self._memory, ends)
        """The slots, by their numbers: to be read while they are ours."""

    def fileno(self) -> int:
        """Readable when a batch waits (or the writer is gone)."""
        return self._socket.fileno()

    def receive(self) -> Batch | None:
        """Take the next batch, or ``None``. Raises ``LinkClosed`` when the writer is gone."""
        if not self._token:
            self.look()
        token, self._token = self._token, b""
        if not token:
            return None
        number, runs = decode_token(token, self.slot_bytes)
        if number >= len(self.views):
            raise NeighbourLied("a lane's token names a slot that does not exist")
        return Batch(number, self.views[number].memory, runs)

    def look(self) -> tuple[int, SlotView, Run] | None:
        """Look at the next batch. If it is a single run: its slot, number and view, and the run.

        It stays the next batch until :meth:`done`; :meth:`receive` takes it, too, and says what is
        wrong with it. Raises ``LinkClosed`` when the writer is gone.
        """
        token = self._token
        if not token:  # here and not by a call: a lone packet's time is what is called for it
            try:
                self._token = token = self._socket.recv(_TOKEN_BYTES)
            except BlockingIOError:
                return None
            except ConnectionResetError as error:
                raise LinkClosed("the writer of a lane is gone") from error
            if not token:
                raise LinkClosed("the writer of a lane is gone")
        if len(token) != LONE_BYTES:
            return None
        fields = LONE.unpack(token)
        slot, _tunnel, _next, packets, size, last, offset, _source = fields
        if (
            not 0 < packets <= MAX_RUN_PACKETS
            or not 0 < last <= size <= MAX_PACKET_BYTES
            or offset + (packets - 1) * size + last > self.slot_bytes
            or slot >= len(self.views)
        ):
            return None
        return slot, self.views[slot], _new(Run, fields[1:])

    def release(self, batch: Batch) -> None:
        """Give the slot back to the writer: at once, or after some lone packets all of theirs."""
        self.done(batch.slot, lone=is_lone(batch.runs))

    def done(self, slot: int, *, lone: bool) -> None:
        """Take the batch that was looked at, and give its slot back as :meth:`release` does."""
        self._token = b""
        kept = self._kept
        kept.append(slot)
        if lone and len(kept) < self._patience:
            return
        try:
            self._socket.send(kept)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkClosed("the writer of a lane is gone") from error
        kept.clear()


class CompiledLaneWriter(LaneWriter):
    """A writing end whose books the accelerator keeps: for Python and for compiled turns alike."""

    def __init__(self, ends: LaneEnds, accelerator: Any) -> None:
        self._map(ends)
        self.compiled = accelerator.LaneWriter(self.fileno(), self._memory, ends.slots)

    def slot(self) -> tuple[int, memoryview] | None:
        number = self.compiled.slot()
        return None if number is None else (number, self.views[number].memory)

    def wait_slot(self) -> tuple[int, memoryview]:
        number = self.compiled.wait_slot()
        return number, self.views[number].memory

    def send(self, runs: list[Run]) -> None:
        self.compiled.send(runs)
        if self.watch is not None:
            self.watch(runs)


class CompiledLaneReader(LaneReader):
    """A reading end whose books the accelerator keeps: for Python and for compiled turns alike."""

    def __init__(self, ends: LaneEnds, accelerator: Any) -> None:
        self._map(ends)
        self.compiled = accelerator.LaneReader(self.fileno(), self._memory, ends.slots)

    def receive(self) -> Batch | None:
        received = self.compiled.receive()
        if received is None:
            return None
        number, runs = received
        return Batch(number, self.views[number].memory, runs)

    def release(self, batch: Batch) -> None:
        self.compiled.release(batch.slot, is_lone(batch.runs))


def lane_writer(ends: LaneEnds) -> LaneWriter:
    """The writing end of a lane, by the twin that is in use."""
    compiled = twins.compiled("turn")
    return CompiledLaneWriter(ends, compiled) if compiled else LaneWriter(ends)


def lane_reader(ends: LaneEnds) -> LaneReader:
    """The reading end of a lane, by the twin that is in use."""
    compiled = twins.compiled("turn")
    return CompiledLaneReader(ends, compiled) if compiled else LaneReader(ends)

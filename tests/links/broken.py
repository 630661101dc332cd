"""Links, ports and listeners that break one rule each, like somebody's first attempt would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self

from chancel.errors import LinkClosed
from chancel.links.endpoint import LinkEndpoint
from chancel.links.interface import MAX_BATCH, Link, Peer
from chancel.links.memory import MemoryLink, MemoryPort
from chancel.links.port_link import PortListener
from chancel.wire.types import Address, Buffer


class SaysNotWhoThePeerIs(MemoryLink):
    @property
    def peer(self) -> Peer:
        return "somebody"  # type: ignore[return-value]


class Loses(MemoryLink):
    async def send(self, message: Buffer) -> None:
        if len(message) != 64:
            await super().send(message)


class Splits(MemoryLink):
    async def send(self, message: Buffer) -> None:
        for at in range(0, max(1, len(message)), 1000):
            await super().send(message[at : at + 1000])


class Alters(MemoryLink):
    async def send(self, message: Buffer) -> None:
        data = bytes(message)
        await super().send(data[:-1] + b"\0" if len(data) > 1000 else data)


class Doubles(MemoryLink):
    async def send(self, message: Buffer) -> None:
        for _ in range(2 if len(self.other.inbox) == 7 else 1):
            await super().send(message)


class TurnsBatches(MemoryLink):
    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        await super().send_batch(messages[::-1])


class IgnoresTheLimit(MemoryLink):
    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        return await super().receive_batch(max(limit, MAX_BATCH) if limit > 1 else limit)


class KeepsBuffers(MemoryLink):
    async def send(self, message: Buffer) -> None:
        self._enter()
        self._check_size(message)
        self.other.inbox.put(message)  # type: ignore[arg-type]


class KeepsViews(MemoryLink):
    views: list[memoryview]

    async def send(self, message: Buffer) -> None:
        await super().send(message)
        self.views = [*getattr(self, "views", []), memoryview(message)]


class CutsOversized(MemoryLink):
    async def send(self, message: Buffer) -> None:
        await super().send(message[: self.max_message])


class SendsUpToTheOversized(MemoryLink):
    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        for message in messages:
            await self.send(message)


class HalfDuplex(MemoryLink):
    async def send(self, message: Buffer) -> None:
        if not self.inbox:
            await super().send(message)


class Unbounded(MemoryLink):
    def __init__(self, name: str, max_message: int, limit: int, delay_s: float) -> None:
        super().__init__(name, max_message, 1 << 30, delay_s)


class LosesWhenFull(MemoryLink):
    async def send(self, message: Buffer) -> None:
        if not self.other.inbox.full:
            await super().send(message)


class SendsFromOneBuffer(MemoryLink):
    buffer = b""

    async def send(self, message: Buffer) -> None:
        self.buffer = bytes(message)
        await asyncio.sleep(0)
        await super().send(self.buffer)


class TakesTooEarly(MemoryLink):
    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        messages = await super().receive_batch(limit)
        await asyncio.sleep(0)
        return messages


class HandsOverToWhoWaits(MemoryLink):
    waiting: asyncio.Future[bytes] | None = None

    async def receive(self) -> bytes:
        if self.inbox or self.closed or self.inbox.ended:
            return await super().receive()
        self.waiting = asyncio.get_running_loop().create_future()
        return await self.waiting

    def _arrive(self, message: bytes | None) -> None:
        assert isinstance(self.other, HandsOverToWhoWaits)
        waiting = self.other.waiting
        if message is not None and waiting is not None and not waiting.done():
            waiting.set_result(message)
        else:
            super()._arrive(message)


class TakesBatchesOneByOne(MemoryLink):
    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        messages = await super().receive_batch(min(limit, 1))
        while self.inbox and len(messages) < limit:
            await asyncio.sleep(0)
            messages += await super().receive_batch(1)
        return messages


class TearsSends(MemoryLink):
    async def send(self, message: Buffer) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await super().send(message[: len(message) // 2])
            raise
        await super().send(message)


class SkipsInBatches(MemoryLink):
    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        try:
            for message in messages:
                await asyncio.sleep(0)
                await self.send(message)
        except asyncio.CancelledError:
            await self.send(messages[-1])
            raise


class StaysBusy(MemoryLink):
    busy = False

    async def send(self, message: Buffer) -> None:
        while self.busy:
            await asyncio.sleep(0.001)
        self.busy = True
        await super().send(message)
        self.busy = False


class GivesUpWhenCancelled(MemoryLink):
    async def wait_closed(self) -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.other.inbox.end("broken off", discard=True)
            raise


class ClosesOnce(MemoryLink):
    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        super().close()


class ClosesOnlyWhenUsed(MemoryLink):
    def close(self) -> None:
        assert self._loop is not None
        super().close()


class WorksWhenClosed(MemoryLink):
    def _enter(self) -> None:
        closed, self._closed = self._closed, False
        try:
            super()._enter()
        finally:
            self._closed = closed


class StaysOpen(MemoryLink):
    async def __aexit__(self, *_: object) -> None:
        pass


class LetsReceiversWait(MemoryLink):
    def _release(self) -> None:
        self._changed.set()
        self._carry(None)


class LetsSendersWait(MemoryLink):
    def _release(self) -> None:
        LinkEndpoint._release(self)
        self.other.inbox.end("closed by the peer")


class RaisesInLoops(MemoryLink):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.receive()


class EndsLoopsOnlyWhenWaiting(MemoryLink):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                message = await self.receive()
            except LinkClosed:
                return
            yield message


class DropsTheRest(MemoryLink):
    def _arrive(self, message: bytes | None) -> None:
        super()._arrive(message)
        if message is None:
            self.other.inbox.end("closed by the peer", discard=True)


class NeverSaysGoodbye(MemoryLink):
    def _arrive(self, message: bytes | None) -> None:
        if message is not None:
            super()._arrive(message)


class SendsIntoNothing(MemoryLink):
    def _check_open(self) -> None:
        if self.closed:
            raise LinkClosed("closed at this end")


class SendsWhenThePeerIsGone(MemoryLink):
    async def send(self, message: Buffer) -> None:
        waits = self.other.inbox.full
        try:
            await super().send(message)
        except LinkClosed:
            if not waits:
                raise


class TwoReaders(MemoryLink):
    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        while not self.inbox:
            await asyncio.sleep(0.001)
        return await super().receive_batch(limit)


class AnyLoop(MemoryLink):
    def _enter(self) -> None:
        self._loop = None
        super()._enter()


class LeavesATask(MemoryLink):
    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(asyncio.sleep(3600))
        return await super().__aenter__()


class LocalIsNoAddress(MemoryPort):
    @property
    def local(self) -> Address:
        return tuple(super().local)  # type: ignore[return-value]


class NamesWrongSources(MemoryPort):
    async def receive_batch(self, limit: int = MAX_BATCH) -> list[tuple[bytes, Address]]:
        batch = await super().receive_batch(limit)
        return [(datagram, Address("elsewhere", source.port)) for datagram, source in batch]


class SortsBySize(MemoryPort):
    async def send_batch(self, datagrams: Sequence[tuple[Buffer, Address]]) -> None:
        await super().send_batch(sorted(datagrams, key=lambda one: len(one[0])))


class RaisesWhatIcmpSays(MemoryPort):
    async def send(self, datagram: Buffer, address: Address) -> None:
        if address not in self._network._ports:
            raise ConnectionRefusedError
        await super().send(datagram, address)


class SendsOversized(MemoryPort):
    async def send(self, datagram: Buffer, address: Address) -> None:
        await super().send(datagram[: self.max_datagram], address)


class HasNoAddress(PortListener):
    @property
    def address(self) -> str:
        return ""


class OneLinkForAll(PortListener):
    def _deliver(self, source: Address, datagrams: list[bytes]) -> None:
        super()._deliver(Address(source.host, 1), datagrams)


class AcceptsTooEarly(PortListener):
    async def accept(self) -> Link:
        link = await super().accept()
        await asyncio.sleep(0)
        return link


class LetsAcceptWait(PortListener):
    def _release(self) -> None:
        pass


class AcceptsWhenClosed(PortListener):
    async def accept(self) -> Link:
        closed, self._closed = self._closed, False
        try:
            return await super().accept()
        finally:
            self._closed = closed


class ClosesItsLinks(PortListener):
    def _release(self) -> None:
        for peer in self._peers.values():
            peer.accepted = False
        super()._release()


class AcceptsForEver(PortListener):
    async def __aiter__(self) -> AsyncIterator[Link]:
        while True:
            yield await self.accept()


class ListensInAnyLoop(PortListener):
    def _enter(self) -> None:
        self._loop = None
        super()._enter()

"""Links, ports and listeners for scripts: calls that block, no ``async``.

::

    from chancel.links import blocking

    with blocking.connect("tcp://192.0.2.1:4000") as link:
        link.send(b"a question")
        answer = link.receive(timeout_s=5)

One daemon thread runs an event loop in which everything lives, so timers (the heartbeats of a
tunnel) run while the script does something else. All calls may come from any thread. A call that
runs into its timeout raises ``TimeoutError``, and so does Ctrl-C its ``KeyboardInterrupt``: either
way nothing is lost, what had arrived comes with the next call. At the end of the program whatever
is still open gets :data:`EXIT_S` seconds to send what it has.

What is open doesn't survive a fork: in the child every call raises ``LocalProtocolError``, because
two processes on one connection would mix their messages; the child opens its own.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Self, TypeVar, overload

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import addresses
from chancel.links.interface import MAX_BATCH, Link, Listener, Peer, Port, Readied
from chancel.wire.types import Address, Buffer

T = TypeVar("T")
E = TypeVar("E", bound=Link | Port | Listener)

EXIT_S = 5.0
"""What a program that ends waits at most for what it has not closed."""


class _Runner:
    """The thread, and the way into it and back."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.ends: weakref.WeakSet[_End[Any]] = weakref.WeakSet()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="chancel-links", daemon=True
        )
        self._thread.start()

    def call(
        self,
        make: Callable[[], Awaitable[T]],
        timeout_s: float | None = None,
        rescue: Callable[[T], object] = lambda _: None,
    ) -> T:
        """Await ``make()`` in the loop. ``rescue`` gets a result that can't be returned any more,
        because the wait for it was interrupted."""
        self._check_caller()
        if sys.is_finalizing():
            raise LocalProtocolError("the program has ended: close before that, not in __del__")
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(_bounded(make, timeout_s)))
            tasks[0].add_done_callback(partial(_hand_over, outcome))

        def stop() -> None:
            if tasks:
                tasks[0].cancel()
            else:
                outcome.set_exception(LinkClosed("interrupted before it began"))

        try:
            self._loop.call_soon_threadsafe(start)
            return outcome.result()
        except BaseException as error:
            if outcome.done() and outcome.exception() is error:
                raise
            # Interrupted. The call ends before we go on, so that the next one finds order.
            self._loop.call_soon_threadsafe(stop)
            concurrent.futures.wait([outcome])
            if outcome.exception() is None:
                rescue(outcome.result())
            raise

    def finish(self) -> None:
        """Close what is open: the program ends."""
        if self.pid != os.getpid():
            return
        deadline = time.monotonic() + EXIT_S
        for end in list(self.ends):
            with contextlib.suppress(TimeoutError):
                end.close(timeout_s=max(0.0, deadline - time.monotonic()))

    def _check_caller(self) -> None:
        if self.pid != os.getpid():
            raise LocalProtocolError("this was opened before a fork: open another one here")
        if asyncio._get_running_loop() is not None:
            raise LocalProtocolError(
                "an event loop runs in this thread, and would stand still:"
                " await chancel.links.addresses.connect there"
            )


async def _bounded(make: Callable[[], Awaitable[T]], timeout_s: float | None) -> T:
    # The timeout is in the loop, where a call that is cancelled loses nothing. A wait in the
    # caller's thread could give up between the arrival of a message and its delivery.
    async with asyncio.timeout(timeout_s):
        return await make()


def _hand_over(outcome: concurrent.futures.Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        outcome.set_exception(LinkClosed("the call was interrupted"))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


_starting = threading.Lock()
_running: _Runner | None = None


def _runner() -> _Runner:
    """This process's runner."""
    global _running  # noqa: PLW0603 - one per process, made when first needed
    with _starting:
        if _running is None or _running.pid != os.getpid():
            _running = _Runner()
            atexit.register(_running.finish)
        return _running


def _after_fork() -> None:
    # The child has no such thread, and the lock may have been held by one.
    global _starting  # noqa: PLW0603
    _starting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def connect(address: str, *, timeout_s: float | None = None, **options: object) -> BlockingLink:
    """As :func:`chancel.links.addresses.connect`; raises ``TimeoutError`` as well."""
    return _opened(lambda: addresses.connect(address, **options), timeout_s)


def listen(address: str, **options: object) -> BlockingListener:
    """As :func:`chancel.links.addresses.listen`."""
    return _opened(lambda: addresses.listen(address, **options), None)


def bind(address: str, **options: object) -> BlockingPort:
    """As :func:`chancel.links.addresses.bind`."""
    return _opened(lambda: addresses.bind(address, **options), None)


def run(make: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T:
    """Await ``make()`` in the loop of this module: for what has no blocking form.

    A link made there is given one by :func:`wrap`.
    """
    return _runner().call(make, timeout_s)


@overload
def wrap(end: Link) -> BlockingLink: ...
@overload
def wrap(end: Port) -> BlockingPort: ...
@overload
def wrap(end: Listener) -> BlockingListener: ...
def wrap(end: Link | Port | Listener) -> BlockingLink | BlockingPort | BlockingListener:
    """The blocking form of something made in :func:`run`, or not awaited anywhere yet.

    It belongs to the wrapper from then on.
    """
    if isinstance(end, Listener):
        return BlockingListener(end, _runner())
    if isinstance(end, Link):
        return BlockingLink(end, _runner())
    return BlockingPort(end, _runner())


@overload
def _opened(make: Callable[[], Awaitable[Link]], timeout_s: float | None) -> BlockingLink: ...
@overload
def _opened(make: Callable[[], Awaitable[Port]], timeout_s: float | None) -> BlockingPort: ...
@overload
def _opened(
    make: Callable[[], Awaitable[Listener]], timeout_s: float | None
) -> BlockingListener: ...
def _opened(
    make: Callable[[], Awaitable[Any]], timeout_s: float | None
) -> BlockingLink | BlockingPort | BlockingListener:
    runner = _runner()

    async def discard(end: Link | Port | Listener) -> None:
        end.close()
        await end.wait_closed()

    end: Link | Port | Listener = runner.call(
        make, timeout_s, lambda late: runner.call(lambda: discard(late), EXIT_S)
    )
    return wrap(end)


class _End(Generic[E]):
    """What the three have in common: one end, one receiver at a time, one close."""

    def __init__(self, end: E, runner: _Runner) -> None:
        self._end = end
        self._runner = runner
        self._receiving = threading.Lock()
        self._rescued: deque[Any] = deque()
        runner.ends.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._end!r}>"

    def close(self, timeout_s: float | None = None) -> None:
        """Close, and wait until what was sent has left. May be called again.

        Raises ``TimeoutError``; it is closed then, and the rest goes on behind the scenes. After
        a fork it does nothing: the parent's connection stays.
        """
        if self._runner.pid != os.getpid() or sys.is_finalizing():
            return

        async def closing() -> None:
            self._end.close()
            await self._end.wait_closed()

        self._runner.call(closing, timeout_s)
        self._runner.ends.discard(self)

    def __enter__(self) -> Self:
        """Enter what is wrapped, as ``async with`` would: a tunnel begins then."""
        self._runner.call(self._end.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(
        self, limit: int, make: Callable[[], Awaitable[list[T]]], timeout_s: float | None
    ) -> list[T]:
        """What an interrupted call left, or else what comes."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._receiving.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s)):
            raise TimeoutError
        try:
            if self._rescued:
                return [
                    self._rescued.popleft() for _ in range(min(max(limit, 1), len(self._rescued)))
                ]
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return self._runner.call(make, left, self._rescued.extend)
        finally:
            self._receiving.release()


class BlockingLink(_End[Link]):
    """A link whose calls block."""

    @property
    def reliable(self) -> bool:
        """Whether everything arrives, once and in order, for as long as the link is open."""
        return self._end.reliable

    @property
    def max_message(self) -> int:
        """The largest message that :meth:`send` takes, in bytes."""
        return self._end.max_message

    @property
    def peer(self) -> Peer:
        """The other end."""
        return self._end.peer

    def ready(self, timeout_s: float | None = None) -> None:
        """Wait until it can send: no time at all, but for a tunnel. Raises ``LinkClosed``."""
        end = self._end
        if isinstance(end, Readied):
            self._runner.call(lambda: end.ready(timeout_s))

    def send(self, message: Buffer, timeout_s: float | None = None) -> None:
        """Send one message. After ``TimeoutError`` it was sent whole, or not at all."""
        self._runner.call(lambda: self._end.send(message), timeout_s)

    def send_batch(self, messages: Sequence[Buffer], timeout_s: float | None = None) -> None:
        """Send several messages in this order. After ``TimeoutError`` the first ones were sent."""
        self._runner.call(lambda: self._end.send_batch(messages), timeout_s)

    def receive(self, timeout_s: float | None = None) -> bytes:
        """Return the next message. Raises ``TimeoutError`` and ``LinkClosed``."""
        return self.receive_batch(1, timeout_s)[0]

    def receive_batch(self, limit: int = MAX_BATCH, timeout_s: float | None = None) -> list[bytes]:
        """Return at least one message and at most ``limit``, without waiting for more."""
        return self._take(limit, lambda: self._end.receive_batch(limit), timeout_s)

    def __iter__(self) -> Iterator[bytes]:
        """Messages as they come, until the link closes."""
        while True:
            try:
                message = self.receive()
            except LinkClosed:
                return
            yield message


class BlockingPort(_End[Port]):
    """A port whose calls block."""

    @property
    def max_datagram(self) -> int:
        """The largest datagram that :meth:`send` takes, in bytes."""
        return self._end.max_datagram

    @property
    def local(self) -> Address:
        """Our own address, as far as it is known here."""
        return self._end.local

    def send(self, datagram: Buffer, address: Address, timeout_s: float | None = None) -> None:
        """Send one datagram."""
        self._runner.call(lambda: self._end.send(datagram, address), timeout_s)

    def send_batch(
        self, datagrams: Sequence[tuple[Buffer, Address]], timeout_s: float | None = None
    ) -> None:
        """Send several datagrams; those to one address in this order."""
        self._runner.call(lambda: self._end.send_batch(datagrams), timeout_s)

    def receive(self, timeout_s: float | None = None) -> tuple[bytes, Address]:
        """Return the next datagram and its source. Raises ``TimeoutError`` and ``LinkClosed``."""
        return self.receive_batch(1, timeout_s)[0]

    def receive_batch(
        self, limit: int = MAX_BATCH, timeout_s: float | None = None
    ) -> list[tuple[bytes, Address]]:
        """Return at least one datagram and at most ``limit``, without waiting for more."""
        return self._take(limit, lambda: self._end.receive_batch(limit), timeout_s)


class BlockingListener(_End[Listener]):
    """A listener whose calls block."""

    @property
    def address(self) -> str:
        """Where to call, as an address string."""
        return self._end.address

    def accept(self, timeout_s: float | None = None) -> BlockingLink:
        """Return the link of the next peer. Raises ``TimeoutError`` and ``LinkClosed``."""

        async def accepted() -> list[Link]:
            return [await self._end.accept()]

        return wrap(self._take(1, accepted, timeout_s)[0])

    def __iter__(self) -> Iterator[BlockingLink]:
        """Links as peers call, until the listener closes."""
        while True:
            try:
                link = self.accept()
            except LinkClosed:
                return
            yield link

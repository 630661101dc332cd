"""Looking up the names of cathedrals, in a process of its own.

The system's resolver waits as long as it likes, and reads what strangers answer; so neither the
group nor anything of worth is near it. Each round is a process that has no rights, no files but the
resolver's own and no descriptors but one pipe, and that ends with the round. The resolver keeps
answers for as long as their TTL says, where there is a caching one; the round asks it anew.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn

from chancel.daemon import child, landlock, linux, sandbox_filter
from chancel.daemon.loop import Loop
from chancel.daemon.sandbox_filter import Program
from chancel.daemon.topology import LOOKUP

ROUND_LIMIT_S = 30.0
"""What isn't known then is unknown in this round. The usual resolver gives up after 10 s."""

MAX_ADDRESSES = 8
"""Of one name: whoever answers for it decides how many there are."""

MAX_ANSWER_BYTES = 1 << 23
"""What the longest names of the fullest group take, and more than a round can need."""

MAX_AT_ONCE = 16
_READ_BYTES = 65_536

_READABLE = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
)
"""What the C library wants: its configuration, and modules that the system may have added to it."""

Resolve = Callable[[str], Sequence[str]]
"""The IPv4 addresses of a name. Raises OSError; may take any time."""

log = logging.getLogger("chancel.daemon")


class Word(NamedTuple):
    """What a round says of a name: that it is its turn, then its addresses, or why it has none.

    ``error`` is a number of getaddrinfo(3).
    """

    name: str
    addresses: tuple[str, ...] = ()
    error: int | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing else will be said of the name."""
        return bool(self.addresses) or self.error is not None


def resolve(name: str) -> list[str]:
    """Ask the system. Raises OSError."""
    # As bytes: for text Python would import a codec, and there is nothing to import it from.
    found = socket.getaddrinfo(name.encode("ascii"), None, socket.AF_INET, socket.SOCK_DGRAM)
    return [str(address[0]) for *_, address in found]


class Lookup:
    """One round at a time, watched by the loop.

    ``hear`` is told what a round says while it goes on, ``ended`` that it is over: whether it had
    all the time it wanted.
    """

    def __init__(
        self,
        loop: Loop,
        hear: Callable[[Sequence[Word]], None],
        ended: Callable[[bool], None],
        resolve_name: Resolve = resolve,
        program: Program | None = None,
    ) -> None:
        self._loop = loop
        self._hear = hear
        self._ended = ended
        self._resolve = resolve_name
        self._program = program
        self._pid = 0
        self._pipe = -1
        self._rest = b""
        self._heard_bytes = 0
        self._until = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a round is under way."""
        return self._pid != 0

    def begin(self, names: Sequence[str], now: float) -> None:
        """Look these names up, in their order. Raises OSError where there can be no process."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        guardian = os.getpid()
        try:
            with child.deaf():
                self._pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if self._pid == 0:
            _look_up(names, writing, guardian, self._resolve, self._program)
        os.close(writing)
        self._pipe, self._rest, self._heard_bytes = reading, b"", 0
        self._until = now + ROUND_LIMIT_S
        self._loop.add(reading, self._read)

    def wake_at(self) -> float | None:
        """When a round that lasts is ended."""
        return self._until if self.is_running else None

    def wake(self, now: float) -> None:
        """End it, if it is time to."""
        if self.is_running and now >= self._until:
            self._end(in_time=True)

    def cut_short(self) -> None:
        """End a round that is under way."""
        if self.is_running:
            self._end(in_time=False)

    def close(self) -> None:
        """End it; nobody is told."""
        if self.is_running:
            self._stop()

    def _read(self) -> None:
        try:
            more = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return
        self._heard_bytes += len(more)
        *lines, self._rest = (self._rest + more).split(b"\n")
        said = [word for line in lines if (word := _parse_untrusted(line)) is not None]
        if said:
            self._hear(said)
        if not more or self._heard_bytes > MAX_ANSWER_BYTES:
            self._end(in_time=True)

    def _end(self, *, in_time: bool) -> None:
        status = self._stop()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            log.warning("the process that looks names up has failed")
        self._ended(in_time)

    def _stop(self) -> int:
        self._loop.remove(self._pipe)
        os.close(self._pipe)
        os.kill(self._pid, signal.SIGKILL)
        _pid, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return status


def _parse_untrusted(line: bytes) -> Word | None:
    """What the process wrote: it may have been taken over."""
    try:
        match json.loads(line.decode()):
            case [str(name)]:
                return Word(name)
            case [str(name), int(error)]:
                return Word(name, (), error)
            case [str(name), [*addresses]]:
                packed = [socket.inet_aton(address) for address in addresses[:MAX_ADDRESSES]]
                usable = [socket.inet_ntoa(each) for each in packed if any(each)]
                return Word(name, tuple(dict.fromkeys(usable)), None if usable else 0)
    except (ValueError, TypeError, OSError, RecursionError):
        pass
    return None


def _look_up(
    names: Sequence[str],
    writing: int,
    guardian: int,
    resolve_name: Resolve,
    program: Program | None,
) -> NoReturn:
    """Be the process of one round. The connection to syslog isn't for it: it leads to others."""
    status = 1
    try:
        child.settle(LOOKUP, guardian)
        child.close_all_but(frozenset({writing}))
        os.set_blocking(writing, True)
        _give_up_rights()
        if program is not None:
            sandbox_filter.load(program)
        waiting = iter(names)
        lock = threading.Lock()
        workers = [
            threading.Thread(target=_work, args=(waiting, lock, writing, resolve_name))
            for _ in range(min(len(names), MAX_AT_ONCE))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        status = 0
    except Exception:  # noqa: BLE001 - told by the log
        traceback.print_exc()
    finally:
        os._exit(status)


def _give_up_rights() -> None:
    linux.keep_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    version = landlock.abi()
    if version:
        landlock.restrict(version, _READABLE, tcp=True)


def _work(
    waiting: Iterator[str], lock: threading.Lock, writing: int, resolve_name: Resolve
) -> None:
    def say(*words: object) -> None:
        with lock:
            os.write(writing, json.dumps(words).encode() + b"\n")

    while True:
        with lock:
            name = next(waiting, None)
        if name is None:
            return
        say(name)
        try:
            say(name, list(resolve_name(name))[:MAX_ADDRESSES])
        except (OSError, UnicodeError) as error:
            say(name, getattr(error, "errno", None) or 0)

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
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from chancel.daemon import child, landlock, linux, logs
from chancel.daemon.loop import Loop

ROUND_LIMIT_S = 30.0
"""What isn't known then is unknown in this round. The usual resolver gives up after 10 s."""

MAX_ADDRESSES = 8
"""Of one name: whoever answers for it decides how many there are."""

MAX_ANSWER_BYTES = 1 << 20
MAX_AT_ONCE = 16

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

Found = dict[str, tuple[str, ...]]
"""Addresses by name; a name that could not be looked up is missing."""

log = logging.getLogger("chancel.daemon")


def resolve(name: str) -> list[str]:
    """Ask the system. Raises OSError."""
    # As bytes: for text Python would import a codec, and there is nothing to import it from.
    found = socket.getaddrinfo(name.encode("ascii"), None, socket.AF_INET, socket.SOCK_DGRAM)
    return [str(address[0]) for *_, address in found]


class Lookup:
    """One round at a time, watched by the loop. ``done`` is told what was found, in the end."""

    def __init__(
        self, loop: Loop, done: Callable[[Found], None], resolve_name: Resolve = resolve
    ) -> None:
        self._loop = loop
        self._done = done
        self._resolve = resolve_name
        self._pid = 0
        self._pipe = -1
        self._answer = b""
        self._until = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a round is under way."""
        return self._pid != 0

    def begin(self, names: Iterable[str], now: float) -> None:
        """Look these names up. Raises OSError where there can be no process for that."""
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
            _look_up(sorted(set(names)), writing, guardian, self._resolve)
        os.close(writing)
        self._pipe, self._answer, self._until = reading, b"", now + ROUND_LIMIT_S
        self._loop.add(reading, self._read)

    def wake_at(self) -> float | None:
        """When a round that lasts is ended."""
        return self._until if self.is_running else None

    def wake(self, now: float) -> None:
        """End it, if it is time to: what was found by then counts."""
        if self.is_running and now >= self._until:
            self._end()

    def close(self) -> None:
        """End a round that is under way; nobody is told."""
        if self.is_running:
            self._stop()

    def _read(self) -> None:
        try:
            more = os.read(self._pipe, 65_536)
        except BlockingIOError:
            return
        self._answer += more
        if not more or len(self._answer) > MAX_ANSWER_BYTES:
            self._end()

    def _end(self) -> None:
        self._stop()
        self._done(_parse_untrusted(self._answer))

    def _stop(self) -> None:
        self._loop.remove(self._pipe)
        os.close(self._pipe)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pid = 0


def _parse_untrusted(answer: bytes) -> Found:
    """What the process wrote, whole lines of it: it may have been taken over."""
    found: Found = {}
    for line in answer.splitlines(keepends=True):
        try:
            name, addresses = json.loads(line.decode()) if line.endswith(b"\n") else ("", [])
            packed = [socket.inet_aton(address) for address in addresses[:MAX_ADDRESSES]]
        except (ValueError, TypeError, KeyError, OSError, RecursionError):
            continue
        usable = dict.fromkeys(socket.inet_ntoa(each) for each in packed if any(each))
        if isinstance(name, str) and usable:
            found[name] = tuple(usable)
    return found


def _look_up(names: list[str], writing: int, guardian: int, resolve_name: Resolve) -> NoReturn:
    """Be the process of one round."""
    try:
        child.settle("lookup", guardian)
        child.close_all_but(frozenset({writing}) | logs.descriptors())
        os.set_blocking(writing, True)
        _give_up_rights()
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
    except Exception:
        log.exception("names can't be looked up")
    finally:
        os._exit(0)


def _give_up_rights() -> None:
    linux.keep_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    version = landlock.abi()
    if version:
        landlock.restrict(version, _READABLE, tcp=True)


def _work(
    waiting: Iterable[str], lock: threading.Lock, writing: int, resolve_name: Resolve
) -> None:
    while True:
        with lock:
            name = next(iter(waiting), None)
        if name is None:
            return
        try:
            line = json.dumps([name, list(resolve_name(name))[:MAX_ADDRESSES]])
        except (OSError, UnicodeError):
            continue  # who asked sees that it is missing
        with lock:
            os.write(writing, line.encode() + b"\n")

"""Whatever control asks of the guardian is answered, or ends the group by one sentence.

Control talks to strangers, so the guardian doesn't believe it. Nothing but GroupBroken is raised,
what waits is bounded, and no descriptor stays open.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from chancel.daemon.accelerator import Accelerator
from chancel.daemon.config_types import Mode, TunnelConfig
from chancel.daemon.group import MAX_INBOX, Child, GroupBroken
from chancel.daemon.guardian import Guardian
from chancel.daemon.link import MAX_MESSAGE_BYTES, MessageLink
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.topology import of
from chancel.errors import LocalProtocolError
from fuzz.script import Script

_PARTS = (
    b'{"request": "add", "name": "a.conf", "id": 1}',
    b'{"request": "remove", "instance": "t0", "id": 2}',
    b'{"request": "add", "name": 5, "id": 1}',
    b'{"request": [], "id": [[]]}',
    b'{"request": "add"}',
    b'{"request": "trace", "id": 3}',
    b'{"ready": 1}',
    b"[" * 5000,
    b"",
)
_MOST_STEPS = 80


class _Group:
    """One child, and what it was told."""

    def __init__(self, child: Child) -> None:
        self.topology = of(Mode.TUNNEL)
        self.children = {"control": child}
        self.told: list[dict[str, Any]] = []

    def tell_control(self, message: dict[str, Any], _fds: Sequence[int]) -> None:
        self.told.append(message)

    def trace(self, names: Sequence[str], fd: int) -> None:
        """Others do as they are told."""


class _Plan:
    """A sandbox that minds no file."""

    mode = Sandbox.OFF

    def check(self, config: TunnelConfig) -> None:
        """Any may join."""


class _Guardian(Guardian):
    """A guardian that makes no tunnels."""

    def __init__(self, group: Any, signals: socket.socket, plan: Any) -> None:
        super().__init__(group, Path("nowhere"), signals, plan, None, Accelerator.OFF)

    def _add_late(self, config: TunnelConfig) -> NoReturn:
        raise LocalProtocolError(f"not here: {config.instance}")


def check(data: bytes) -> None:
    script = Script(data)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left, passed = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    child = Child("control", os.getpid(), MessageLink(ours))
    group = _Group(child)
    guardian = _Guardian(group, ours, _Plan())
    with ours, theirs, contextlib.suppress(GroupBroken):
        theirs.setblocking(False)
        for _ in range(_MOST_STEPS):
            if not script.more():
                break
            _say(script, theirs, passed)
            if script.flag():
                guardian._answer()
            assert len(child.inbox) <= MAX_INBOX + 1
        guardian._answer()
    for message in group.told:
        assert len(json.dumps(message)) <= MAX_MESSAGE_BYTES
    _check_descriptors(child, left, passed)


def _say(script: Script, theirs: socket.socket, passed: int) -> None:
    words = script.pick((*_PARTS, script.chunk(300)))
    if not words:
        return
    fds: Sequence[int] = [passed] * (script.number() % 6)
    with contextlib.suppress(BlockingIOError):
        socket.send_fds(theirs, [words], fds)


def _check_descriptors(child: Child, left: int, passed: int) -> None:
    """Nothing that was passed is open but what still waits to be looked at."""
    os.close(passed)
    for _message, fds in child.inbox:
        for fd in fds:
            os.close(fd)
    os.close(child.pidfd)
    assert os.read(left, 1) == b""
    os.close(left)


def seeds() -> Iterator[bytes]:
    for part in range(len(_PARTS) + 1):
        yield bytes((0, 0, part, 1, 1))
    yield bytes((0, 0, 0, 0, 0)) * 70
    yield bytes((0, 0, 5, 1, 0)) * 10

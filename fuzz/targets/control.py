"""Whatever users say to the control sockets, control answers in JSON lines or hangs up.

Nothing raises, no more than ``MAX_CLIENTS`` are held, no descriptor of a stranger stays open, and
the guardian is asked for nothing but what is well formed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

from chancel.daemon.config_types import Mode
from chancel.daemon.duties.control import Control
from chancel.daemon.link import MessageLink
from chancel.daemon.loop import Loop
from chancel.daemon.process import Process
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.stream_server import MAX_CLIENTS
from chancel.daemon.topology import Wiring, of
from chancel.wire.types import NO_FLOCKS
from fuzz.script import Script

_PROCESS = Process("control", Wiring.make(of(Mode.TUNNEL)))
_SETTINGS = TunnelSettings(
    "t0", IPv4Interface("10.77.0.1/30"), (), 1422, True, None, NO_FLOCKS, 0, "key"
)
_REQUESTS = (
    b'{"do": "status"}\n',
    b'{"do": "watch", "interval_s": 1}\n',
    b'{"do": "add", "name": "a.conf"}\n',
    b'{"do": "remove", "instance": "t0"}\n',
    b'{"do": "watch", "interval_s": NaN}\n',
    b'{"do": "trace"}\n',
    '{"do": "status"}'.encode("utf-32-be") + b"\n",
    b"GET /metrics HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.0\r\nX: " + b"x" * 5000,
)
_GROUP = {"pid": 1, "metrics": "", "started_wall": 0.0, "processes": {}}
_FOLDER = tempfile.TemporaryDirectory(prefix="chancel-fuzz-")
_TURNS = 6
_MOST_STEPS = 40
MOST_BYTES = 1024


class _Machine:
    """Control, its sockets, the guardian's end of its link, and some clients."""

    def __init__(self, files: contextlib.ExitStack) -> None:
        guardian, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.guardian = MessageLink(guardian)
        self.files = files
        files.callback(ours.close)
        stream, metrics, datagrams = made = (
            _bound(socket.SOCK_STREAM),
            _bound(socket.SOCK_STREAM),
            _bound(socket.SOCK_DGRAM),
        )
        self.streams = [stream.getsockname(), metrics.getsockname()]
        self.datagrams = datagrams.getsockname()
        for listening in made[:2]:
            listening.listen(MAX_CLIENTS)
        _PROCESS.loop, _PROCESS.guardian = Loop(), MessageLink(ours)
        self.loop = _PROCESS.loop
        self.control = Control(_PROCESS)
        _PROCESS.hear({"group": _GROUP, "uid": os.geteuid()}, [metrics.detach()])
        _PROCESS.hear({"tunnel": 0, "about": {}}, [])
        self.control.add(0, _SETTINGS, [stream.detach(), datagrams.detach()])
        self.clients: list[socket.socket] = []
        self.left, self.passed = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        files.callback(os.close, self.left)

    def step(self, script: Script) -> None:
        """One thing that a user can do."""
        match script.number() % 6:
            case 0:
                self._connect(script.pick(self.streams))
            case 1 | 2:
                client = self._some(script)
                words = script.pick((*_REQUESTS, script.chunk(200), b"[" * 5000, b"\n"))
                fds = [self.passed] * (script.number() % 4)
                with contextlib.suppress(OSError):
                    socket.send_fds(client, [words], fds)
            case 3:
                with contextlib.suppress(OSError):
                    self._some(script).shutdown(script.pick((socket.SHUT_WR, socket.SHUT_RDWR)))
            case 4:
                client = script.pick((_unbound, _nameless, _oddly_named))()
                with client, contextlib.suppress(OSError):
                    client.sendto(script.chunk(8), self.datagrams)
            case _:
                self._some(script).close()
                self.clients = [each for each in self.clients if each.fileno() >= 0]

    def _connect(self, address: bytes) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.files.callback(client.close)
        with contextlib.suppress(BlockingIOError):
            client.connect(address)
        self.clients.append(client)
        return client

    def _some(self, script: Script) -> socket.socket:
        return script.pick(self.clients) if self.clients else self._connect(self.streams[0])

    def turn(self, *, answer: bool) -> None:
        """Let control do what there is to do, and be the guardian."""
        turns = iter(range(_TURNS))

        def wake(now: float) -> None:
            self.control.wake(now)
            if next(turns, None) is None:
                self.loop.stop()

        self.loop.run(lambda: 0.0, wake)
        while (received := self.guardian.receive()) is not None:
            request, fds = received
            for fd in fds:
                os.close(fd)
            assert request["request"] in ("add", "remove", "trace")
            assert (request["request"] == "add") == bool(fds)
            if answer:
                self.guardian.send({"answer": request["id"], "ok": True})

    def judge(self) -> None:
        """What clients got are JSON lines."""
        for client in self.clients:
            with contextlib.suppress(OSError):
                said = client.recv(1 << 20)
                if not said.startswith(b"HTTP/1.1 "):
                    assert all(json.loads(line)["ok"] in (True, False) for line in _lines(said))

    def check_descriptors(self) -> None:
        """Of those that clients passed, none is left: then the pipe they belong to has ended."""
        os.close(self.passed)
        assert os.read(self.left, 1) == b""
        self.guardian.close()


def _lines(said: bytes) -> list[bytes]:
    """Whole lines, but for what continues an answer over HTTP."""
    lines = said.split(b"\n")
    assert lines[-1] == b"" or not lines[0].startswith(b"{")
    return [line for line in lines if line.startswith(b"{")]


def _bound(kind: socket.SocketKind) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    end.bind("")  # the kernel finds a name
    return end


def _unbound() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def _nameless() -> socket.socket:
    return _bound(socket.SOCK_DGRAM)


def _oddly_named() -> socket.socket:
    """A client whose path no terminal should see."""
    end = _unbound()
    path = Path(_FOLDER.name, os.fsdecode(b"\xff\n\x1b[31m"))
    path.unlink(missing_ok=True)
    end.bind(str(path))
    return end


def check(data: bytes) -> None:
    script = Script(data)
    with contextlib.ExitStack() as files:
        machine = _Machine(files)
        for _ in range(_MOST_STEPS):
            if not script.more():
                break
            machine.step(script)
            machine.turn(answer=script.flag())
            machine.judge()
        for client in machine.clients:
            client.close()
        machine.turn(answer=True)
        machine.control.remove(0)
        machine.check_descriptors()


def seeds() -> Iterator[bytes]:
    for request in range(len(_REQUESTS) + 3):
        yield bytes((0, 0, 1, 0, request, 1, 1, 1, 0, request, 0, 1, 3, 0, 0, 1))
    yield bytes((0, 1)) * (MAX_CLIENTS + 2)
    for way in range(3):
        yield bytes((4, way, 0, 1, 1, 1, 4, way, 0, 0, 1, 4, way, 0, 0, 1))

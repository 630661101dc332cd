"""The client of ``NAME.ctl``, the stream socket on which a running group takes its orders.

One request is one line of JSON and so is each answer: ``{"ok": true, ...}``, or ``{"ok": false,
"error": "one sentence"}``. The requests made here: ``{"do": "status"}``; ``{"do": "add", "name":
FILE}`` together with the descriptor of an open configuration file; ``{"do": "remove", "instance":
NAME}``; ``{"do": "stop"}``; ``{"do": "trace"}`` and ``{"do": "enter"}``, whose answers bring
descriptors. A group knows ``{"do": "watch",
"interval_s": SECONDS}`` as well, for programs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from chancel.daemon import places
from chancel.errors import LinkClosed, LocalProtocolError

MAX_ANSWER_BYTES = 16 << 20
"""An answer over many tunnels has about 2 KB for each; anything near this is no answer."""

MAX_LINE_BYTES = 64 * 1024
MAX_DESCRIPTORS = 2

TIMEOUT_S = 10.0
"""A group answers at once; adding a tunnel takes it less than a second."""

Answer = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A running group: the socket it answered on, and its status."""

    socket: Path
    answer: Answer

    @property
    def name(self) -> str:
        """The name of its socket, without the suffix."""
        return _name(self.socket)

    @property
    def pid(self) -> int:
        """The process id of its guardian."""
        return int(self.answer["group"]["pid"])

    def knows(self, name: str) -> bool:
        """Whether the group itself, its liturgy, or one of its tunnels, has this name."""
        carried = (*self.answer["tunnels"], *self.liturgies)
        return name == self.name or any(each["instance"] == name for each in carried)

    @property
    def liturgies(self) -> tuple[Answer, ...]:
        """The liturgy whose tunnels these are, if it is one."""
        return tuple(self.answer.get("liturgies", ()))


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What was found in a runtime directory; ``silent`` has a sentence for each dead socket."""

    directory: Path
    groups: tuple[Group, ...]
    silent: tuple[str, ...]

    def find(self, name: str | None) -> Group:
        """The group that knows ``name``; the only one for ``None``.

        Raises :class:`LinkClosed` when there is none, and :class:`LocalProtocolError` when a name
        is needed to choose.
        """
        groups = [group for group in self.groups if name is None or group.knows(name)]
        if not groups:
            what = "no tunnel" if name is None else f"no tunnel called {name!r}"
            looked = "; ".join([f"looked in {self.directory}", *self.silent])
            raise LinkClosed(f"{what} is running ({looked})")
        if len(groups) > 1:
            names = ", ".join(group.name for group in groups)
            raise LocalProtocolError(f"several groups are running (expected one of {names})")
        return groups[0]


def survey(directory: Path) -> Survey:
    """Ask the groups in the runtime directory for their status.

    Each tunnel of a group has a socket, and any of them answers for the whole group.
    """
    groups: list[Group] = []
    silent = []
    for path in places.control_sockets(directory):
        if any(group.knows(_name(path)) for group in groups):
            continue
        try:
            found = Group(path, ask(path, {"do": "status"}))
        except LinkClosed as closed:
            silent.append(str(closed))
            continue
        if all(found.pid != group.pid for group in groups):  # a tunnel may be joining right now
            groups.append(found)
    return Survey(directory, tuple(groups), tuple(silent))


def add(group: Path, name: str, descriptor: int) -> Answer:
    """Have a group carry one more tunnel: ``descriptor`` is its open configuration file.

    ``name`` is the file's name in the group's messages.
    """
    return ask(group, {"do": "add", "name": name}, [descriptor])


def remove(group: Path, instance: str) -> Answer:
    """Have a group end one of its tunnels; the others don't notice."""
    return ask(group, {"do": "remove", "instance": instance})


def enter(group: Path) -> list[int]:
    """Descriptors of the group's cell, which are ours now (``cell.received``)."""
    return _ask_for_descriptors(group, {"do": "enter"})


def stop(group: Path) -> None:
    """End a group, and wait until nothing of it is left."""
    guardian = os.pidfd_open(Group(group, ask(group, {"do": "status"})).pid)
    try:
        ask(group, {"do": "stop"})
        if not select.select([guardian], [], [], TIMEOUT_S)[0]:
            raise LinkClosed(f"{_name(group)} was told to stop and does not end")
    finally:
        os.close(guardian)


def ask(path: Path, request: dict[str, Any], descriptors: Iterable[int] = ()) -> Answer:
    """Send one request and return its answer.

    Raises :class:`LinkClosed` when nobody answers there, and :class:`LocalProtocolError` with the
    group's own sentence when it refuses.
    """
    with _conversation(path) as stream:
        socket.send_fds(stream, [json.dumps(request).encode() + b"\n"], list(descriptors))
        with stream.makefile("rb") as lines:
            line = lines.readline(MAX_ANSWER_BYTES)
    return _decode(line, _name(path))


def trace(path: Path) -> socket.socket:
    """Begin a trace of a group. Each message received from the socket is some lines of JSON.

    It ends for all when the socket is closed. Raises as :func:`ask` does.
    """
    return socket.socket(fileno=_ask_for_descriptors(path, {"do": "trace"})[0])


def _ask_for_descriptors(path: Path, request: dict[str, Any]) -> list[int]:
    """Send one request whose answer comes with at least one descriptor. Raises as :func:`ask`."""
    with _conversation(path) as stream:
        stream.sendall(json.dumps(request).encode() + b"\n")
        line, fds, _flags, _address = socket.recv_fds(stream, MAX_LINE_BYTES, MAX_DESCRIPTORS)
    with contextlib.ExitStack() as received:
        for fd in fds:
            received.callback(os.close, fd)
        _decode(line, _name(path))
        if not fds:
            raise LinkClosed(f"{_name(path)} agreed to {request['do']} without a descriptor")
        received.pop_all()
    return fds


@contextlib.contextmanager
def _conversation(path: Path) -> Iterator[socket.socket]:
    """A connection to a group, that is closed afterwards; OSErrors become :class:`LinkClosed`."""
    name = _name(path)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(TIMEOUT_S)
            stream.connect(str(path))
            yield stream
    except (TimeoutError, BlockingIOError) as error:  # the latter: many others wait already
        raise LinkClosed(f"{name} does not answer; its processes may be stopped") from error
    except OSError as error:
        raise LinkClosed(f"{name} is not running: {error.strerror}") from error


def _name(path: Path) -> str:
    return path.name.removesuffix(places.CONTROL_SUFFIX)


def _decode(line: bytes, name: str) -> Answer:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise LinkClosed(f"{name} went away without an answer") from error
    if not isinstance(answer, dict) or "ok" not in answer:
        raise LinkClosed(f"{name} speaks another language than this program")
    if not answer["ok"]:
        raise LocalProtocolError(str(answer.get("error", "refused without a reason")))
    return answer

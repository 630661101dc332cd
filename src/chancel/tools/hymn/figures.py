"""What a running tunnel counts, from either daemon.

The reference's answer is one datagram of 88 bytes, on the socket that a file's ``control`` line
names; our daemon gives the same. Where a file has no such line, our own status answer is taken.

That socket may lie where everybody can put files. So whoever answers has to own it: root, the owner
that the file names, or we. And the answer has to come from there. Our own end is a file that the
answering process, as whatever user, can write to and nobody else: it belongs to the user that the
file lets ``control`` run as.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from chancel.daemon.config_types import ControlSocket
from chancel.daemon.config_values import Refused, address
from chancel.errors import LinkClosed
from chancel.wire.types import Address

ONLINE_S = 120
"""A tunnel is online while its last packet from the peer is younger."""

TIMEOUT_S = 5.0

_STATUS = b"\x01"
_ANSWER = struct.Struct("=I4xQQQQI4xQQQQ4s2sH")
"""In the machine's own byte order and C layout, but for address and port."""


@dataclasses.dataclass(frozen=True, slots=True)
class Direction:
    """Of one key; ``spi`` 0 is none. Ages are in whole seconds; ``last_s`` ``None``: never."""

    spi: int
    age_s: int
    packets: int
    octets: int
    last_s: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Both directions, where the peer is at present, and the tunnel's MTU at present."""

    tx: Direction
    rx: Direction
    peer: Address | None
    mtu: int

    @property
    def is_online(self) -> bool:
        """Keys in both directions, and a packet lately."""
        last_s = self.rx.last_s
        return bool(self.tx.spi and self.rx.spi) and last_s is not None and last_s < ONLINE_S

    @classmethod
    def of_datagram(cls, data: bytes, now: float) -> Figures:
        """The reference's layout; ``now`` is monotonic. Raises :class:`LinkClosed`."""
        if len(data) != _ANSWER.size:
            raise LinkClosed(f"an answer of {len(data)} bytes (expected {_ANSWER.size})")
        fields = _ANSWER.unpack(data)
        host, port = IPv4Address(fields[10]), int.from_bytes(fields[11], "big")
        return cls(
            tx=_direction(fields[:5], int(now)),
            rx=_direction(fields[5:10], int(now)),
            peer=Address(str(host), port) if int(host) else None,
            mtu=fields[12],
        )

    @classmethod
    def of_status(cls, tunnel: dict[str, Any]) -> Figures:
        """A tunnel's part of our daemon's status answer."""
        try:
            peer = None if tunnel["peer"] is None else address(tunnel["peer"])
        except Refused:  # with a zone
            peer = None
        return cls(_side(tunnel["tx"]), _side(tunnel["rx"]), peer, tunnel["mtu"])


def _direction(fields: tuple[int, ...], now: int) -> Direction:
    spi, installed_at, packets, last_at, octets = fields
    last_s = max(0, now - last_at) if last_at else None
    return Direction(spi, max(0, now - installed_at), packets, octets, last_s)


def _side(told: dict[str, Any]) -> Direction:
    return Direction(
        spi=int(told["spi"] or "0", 16),
        age_s=int(told["age_s"] or 0),
        packets=told["packets"],
        octets=told["bytes"],
        last_s=None if told["last_s"] is None else int(told["last_s"]),
    )


def ask(control: ControlSocket, runs_as: str) -> Figures:
    """Ask the daemon of a tunnel, whose control process is the user ``runs_as``.

    Raises :class:`LinkClosed` when nobody answers who may.
    """
    try:
        _refuse_foreign(control)
        with _own_end(runs_as) as end:
            end.connect(str(control.path))
            end.send(_STATUS)
            return Figures.of_datagram(end.recv(_ANSWER.size + 1), time.monotonic())
    except TimeoutError as error:
        raise LinkClosed(f"{control.path} does not answer") from error
    except OSError as error:
        raise LinkClosed(f"{control.path} does not answer: {error.strerror or error}") from error


def _refuse_foreign(control: ControlSocket) -> None:
    found = control.path.lstat()
    owners = {0, os.geteuid()}
    with contextlib.suppress(KeyError):
        owners.add(pwd.getpwnam(control.owner).pw_uid)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in owners:
        raise LinkClosed(
            f"{control.path} is not the tunnel's: remove it, and start the tunnel again"
        )


@contextlib.contextmanager
def _own_end(runs_as: str) -> Iterator[socket.socket]:
    with (
        tempfile.TemporaryDirectory(prefix="chancel-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end,
    ):
        end.settimeout(TIMEOUT_S)
        path = Path(folder) / "asking"
        end.bind(str(path))
        path.chmod(0o600)
        if os.geteuid() == 0:
            with contextlib.suppress(KeyError):
                os.chown(path, pwd.getpwnam(runs_as).pw_uid, -1)
            Path(folder).chmod(0o711)
        yield end

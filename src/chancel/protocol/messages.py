"""The frozen messages that the protocol's parts speak to each other.

The library and the simulator hand these over by direct calls; the daemon sends their binary form
(``encode`` / :func:`decode`) over links between processes. Integers are big-endian; times are
monotonic seconds as IEEE 754 doubles, comparable between the processes of one machine.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from chancel.wire.types import Address, Salt, SessionKey, Spi


@dataclasses.dataclass(frozen=True, slots=True)
class InstallSendKey:
    """Exchange → Sealer: from now on seal with this key. SPI and salt are the receiver's choice."""

    TAG: ClassVar[bytes] = b"S"
    spi: Spi
    salt: Salt
    key: SessionKey = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class InstallReceiveKey:
    """Exchange → Opener: accept packets with this SPI; pending until the first authentic one."""

    TAG: ClassVar[bytes] = b"R"
    spi: Spi
    salt: Salt
    key: SessionKey = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class EraseKeys:
    """Exchange → Sealer and Opener: forget every key of this tunnel."""

    TAG: ClassVar[bytes] = b"E"


@dataclasses.dataclass(frozen=True, slots=True)
class InstallMask:
    """Keeper → whoever sends and receives datagrams: mask them under this derived 32-byte key.

    It replaces the one before. It is no key that opens anything but the mask.
    """

    TAG: ClassVar[bytes] = b"M"
    key: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class InstallCathedralMask:
    """Keeper → whoever sends and receives datagrams: mask what goes to these hosts, and what comes
    from them, under this derived 32-byte key instead (cathedral section 9.1).

    It replaces the one before. ``identity`` are the 16 bytes that marks are made from, ``hosts``
    the IPv4 addresses of all cathedrals that are known, of 4 bytes each.
    """

    TAG: ClassVar[bytes] = b"C"
    MAX_HOSTS: ClassVar[int] = 64
    """32 that a file names and 32 that a cathedral tells of."""
    key: bytes = dataclasses.field(repr=False)
    identity: bytes
    hosts: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiveReport:
    """Opener → Exchange: what has been received. 0 as SPI means that there is no active key.

    ``packets`` counts authentic packets under the active key (``rx_pkt`` of protocol section 7.1);
    ``alive_at`` is the time of the last authentic packet under any key, or ``None``.
    """

    active_spi: int = 0
    packets: int = 0
    installed_at: float = 0.0
    alive_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SendReport:
    """Sealer → whoever asks: the key in use. 0 as SPI means that there is none."""

    spi: int = 0
    packets: int = 0
    installed_at: float = 0.0
    last_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PeerSeen:
    """An authentic packet came from this address at this time; the newest one wins (section 10)."""

    address: Address
    at: float


Command = InstallSendKey | InstallReceiveKey | EraseKeys | InstallMask | InstallCathedralMask

_KEY = struct.Struct("!cI4s32s")
_MASK = struct.Struct("!c32s")
_CATHEDRAL_MASK = struct.Struct("!c32s16sB")
_HOST_BYTES = 4


def encode(command: Command) -> bytes:
    """The binary form: one tag byte, then be32 SPI, raw4 salt, 32 bytes of key; of a mask the tag
    and the key alone, of one for cathedrals tag, key, identity, a byte with the number of hosts,
    and these. Raises ``ValueError`` for too many.
    """
    if isinstance(command, EraseKeys):
        return command.TAG
    if isinstance(command, InstallMask):
        return _MASK.pack(command.TAG, command.key)
    if isinstance(command, InstallCathedralMask):
        if len(command.hosts) > command.MAX_HOSTS:
            raise ValueError(f"at most {command.MAX_HOSTS} hosts fit, not {len(command.hosts)}")
        head = _CATHEDRAL_MASK.pack(command.TAG, command.key, command.identity, len(command.hosts))
        return head + b"".join(command.hosts)
    return _KEY.pack(command.TAG, command.spi, command.salt, command.key)


def decode(data: bytes) -> Command:
    """Inverse of :func:`encode`; raises ``ValueError`` on anything else."""
    if data == EraseKeys.TAG:
        return EraseKeys()
    if len(data) == _MASK.size and data[:1] == InstallMask.TAG:
        return InstallMask(data[1:])
    if data[:1] == InstallCathedralMask.TAG and len(data) >= _CATHEDRAL_MASK.size:
        return _decode_cathedral_mask(data)
    if len(data) != _KEY.size:
        raise ValueError("not a key command")
    tag, spi, salt, key = _KEY.unpack(data)
    if tag == InstallSendKey.TAG:
        return InstallSendKey(Spi(spi), Salt(salt), SessionKey(key))
    if tag == InstallReceiveKey.TAG:
        return InstallReceiveKey(Spi(spi), Salt(salt), SessionKey(key))
    raise ValueError("not a key command")


def _decode_cathedral_mask(data: bytes) -> InstallCathedralMask:
    _tag, key, identity, count = _CATHEDRAL_MASK.unpack_from(data)
    at = range(_CATHEDRAL_MASK.size, len(data), _HOST_BYTES)
    hosts = tuple(data[start : start + _HOST_BYTES] for start in at)
    if count > InstallCathedralMask.MAX_HOSTS or len(b"".join(hosts)) != count * _HOST_BYTES:
        raise ValueError("not a key command")
    return InstallCathedralMask(key, identity, hosts)

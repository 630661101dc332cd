"""Vicar files: what a device needs to meet its cathedral, under a passphrase (daemon section 6).

::

    salt 32 | record 152, encrypted | tag 32

The key comes from the passphrase by a walk over 32 MiB that takes millions of permutations, seconds
with the accelerator; without it a file can be neither made nor opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import struct
from collections.abc import Callable
from typing import Final

import numpy as np

from chancel.crypto.agelas import Agelas, compiled
from chancel.crypto.kmac import kmac256
from chancel.errors import LocalProtocolError, VaultError
from chancel.wire.types import Address, Buffer

SALT_BYTES: Final = 32
TAG_BYTES: Final = 32
MAX_PASSPHRASE_BYTES: Final = 255

_HEAD = struct.Struct("<I4sQ")
_PORT = struct.Struct(">H")
_TUNNEL = struct.Struct("<H")
_PASSPHRASE_BYTES: Final = 256
_KEK_BYTES, _COSK_BYTES, _SECRET_BYTES = 32, 64, 32
_PADDING_BYTES: Final = 4
RECORD_BYTES: Final = 152
FILE_BYTES: Final = SALT_BYTES + RECORD_BYTES + TAG_BYTES

MEMORY_BYTES: Final = 32 * 1024 * 1024
ROUNDS: Final = 65_536
_STEP_BYTES: Final = 512
_ROUNDS_PER_PASS: Final = 2048
_LABEL: Final = b"VICAR.PASSPHRASE.PBKDF"

Progress = Callable[[int], None]
"""Told how many of :data:`ROUNDS` are done, now and then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Vicar:
    """What stands in a file. The keys are 32, 64 (Ed25519 seed and public key) and 32 bytes."""

    identity: int
    flock: int
    tunnel: int
    cathedral: Address
    kek: bytes = dataclasses.field(repr=False)
    cosk: bytes = dataclasses.field(repr=False)
    secret: bytes = dataclasses.field(repr=False)
    """That of the cathedral."""

    def encode(self) -> bytes:
        """Return the 152-byte record. Raises ``LocalProtocolError`` if something doesn't fit."""
        sizes = (len(self.kek), len(self.cosk), len(self.secret))
        if sizes != (_KEK_BYTES, _COSK_BYTES, _SECRET_BYTES):
            raise LocalProtocolError("the keys of a vicar file have 32, 64 and 32 bytes")
        try:
            host = ipaddress.IPv4Address(self.cathedral.host).packed
            head = _HEAD.pack(self.identity, host, self.flock)
            head += _PORT.pack(self.cathedral.port) + _TUNNEL.pack(self.tunnel)
        except (ValueError, struct.error) as error:
            raise LocalProtocolError(f"a vicar file can't hold this: {error}") from error
        return head + self.kek + self.cosk + self.secret + bytes(_PADDING_BYTES)

    @classmethod
    def decode(cls, record: Buffer) -> Vicar:
        """Inverse of :meth:`encode`; nothing in it is judged."""
        identity, host, flock = _HEAD.unpack_from(record)
        (port,) = _PORT.unpack_from(record, _HEAD.size)
        (tunnel,) = _TUNNEL.unpack_from(record, _HEAD.size + _PORT.size)
        at = _HEAD.size + _PORT.size + _TUNNEL.size
        keys = []
        for size in (_KEK_BYTES, _COSK_BYTES, _SECRET_BYTES):
            keys.append(bytes(record[at : at + size]))
            at += size
        cathedral = Address(str(ipaddress.IPv4Address(host)), port)
        return cls(identity, flock, tunnel, cathedral, *keys)


def seal(vicar: Vicar, passphrase: Buffer, salt: Buffer, progress: Progress | None = None) -> bytes:
    """Return the 216 bytes of a file; ``salt`` is 32 random bytes. Raises as :func:`derive`."""
    record = bytearray(vicar.encode())
    agelas = Agelas(derive(passphrase, salt, progress))
    agelas.bind(salt)
    agelas.encrypt(record)
    return bytes(salt) + bytes(record) + agelas.tag()


def unseal(file: Buffer, passphrase: Buffer, progress: Progress | None = None) -> Vicar | None:
    """Open the 216 bytes of a file; ``None`` if the passphrase is wrong or the file damaged.

    Raises as :func:`derive`.
    """
    salt = bytes(file[:SALT_BYTES])
    record = bytearray(file[SALT_BYTES : SALT_BYTES + RECORD_BYTES])
    agelas = Agelas(derive(passphrase, salt, progress))
    agelas.bind(salt)
    agelas.decrypt(record)
    if not agelas.verify(file[SALT_BYTES + RECORD_BYTES :]):
        return None
    return Vicar.decode(record)


def derive(passphrase: Buffer, salt: Buffer, progress: Progress | None = None) -> bytes:
    """Return the 64-byte key (daemon section 6.3). Seconds, and 32 MiB.

    Raises ``LocalProtocolError`` for more than 255 bytes, and ``VaultError`` without the
    accelerator: it would take half an hour.
    """
    if compiled() is None:
        raise VaultError(
            "vicar files need the accelerator, without which a passphrase takes half an hour: "
            "pip install 'chancel[accel]', or make setup where cargo is installed"
        )
    memory, agelas, pattern = begin(passphrase, salt)
    agelas.encrypt(memory)
    for number, at in enumerate(pattern):
        walk(memory, agelas, number, at)
        if progress is not None and number % _ROUNDS_PER_PASS == 0:
            progress(number)
    if progress is not None:
        progress(ROUNDS)
    data = (MEMORY_BYTES - 32).to_bytes(4, "big") + memory[32:]
    return kmac256(memory[:32], data, 64, _LABEL)


def begin(passphrase: Buffer, salt: Buffer) -> tuple[bytearray, Agelas, list[int]]:
    """The memory as it is at first, the stream that encrypts it, and where each round goes to."""
    if len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise LocalProtocolError(f"a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes")
    padded = bytes(passphrase).ljust(_PASSPHRASE_BYTES, b"\0")
    seed = hashlib.shake_256(_PASSPHRASE_BYTES.to_bytes(4, "little") + padded + bytes(salt)).digest(
        512
    )
    pattern = np.frombuffer(hashlib.shake_256(seed[:256]).digest(2 * ROUNDS), "<u2").tolist()
    memory = bytearray(hashlib.shake_256(seed[256:]).digest(MEMORY_BYTES))
    return memory, Agelas(seed[:64]), pattern


def walk(memory: bytearray, agelas: Agelas, number: int, step: int) -> None:
    """Do one round: it changes one byte, and every 2,048th of them all from there on."""
    at = step * _STEP_BYTES
    if number % _ROUNDS_PER_PASS == 0:
        agelas.encrypt(memoryview(memory)[at:])
    text = number.to_bytes(4, "big") + memory[at : at + _STEP_BYTES]
    drawn = np.frombuffer(hashlib.shake_256(text).digest(_STEP_BYTES), np.uint8)
    memory[at] ^= int(np.bitwise_xor.reduce(drawn))

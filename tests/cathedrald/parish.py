"""The files that a cathedral needs, and clients of it."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.cathedrald import config
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.system import SystemSuite
from chancel.protocol.cathedral_offers import Opened, open_answer_untrusted, seal_request
from chancel.wire.ambry import DAY_S, DEVICES, ENTRY_BYTES, EPOCH_S, HEADER_BYTES, Header, Shape
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer, Request
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi

FLOCK, OTHER = FlockId(0xCAFEBA00), FlockId(0xDEADBE00)
IDENTITY = CathedralId(0x0BADF00D)
LOCAL = Address("127.0.0.1", 4500)
NAT_PORT = 4501
LIMIT_S = 60.0
"""Only bounds how long a failing test hangs."""

SETTINGS = f"""\
flock {FLOCK:x} {{
    allow {IDENTITY:x} spi 01 0
    allow {IDENTITY:x} spi 02 0
}}
flock {OTHER:x} {{
    allow {IDENTITY:x} spi 01 8
}}
"""


class Keys:
    """Clients' keys: a cathedral's folder, and by flock what the client signs with."""

    def __init__(self, keys: Path, cosks: dict[FlockId, bytes]) -> None:
        self.keys = keys
        self.cosks = cosks

    def key(self, flock: FlockId = FLOCK, suffix: str = ".key") -> Path:
        return self.keys / f"flock-{flock:x}" / f"{IDENTITY:08x}{suffix}"


class Parish(Keys):
    """A folder with everything."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "keys", {})
        self.folder = folder
        self.sync = self._write("sync", os.urandom(32), 0o600)
        self.settings = self._write("settings", SETTINGS.encode())
        for flock in (FLOCK, OTHER):
            pair = Ed25519PrivateKey.generate()
            public = pair.public_key().public_bytes_raw()
            self.cosks[flock] = pair.private_bytes_raw() + public
            self._write(f"keys/flock-{flock:x}/{IDENTITY:08x}.key", os.urandom(32), 0o600)
            self._write(f"keys/flock-{flock:x}/{IDENTITY:08x}.pub", public)

    def _write(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def text(self, *lines: str) -> str:
        """The configuration; the lines are appended."""
        return "\n".join(
            [
                "mode cathedral",
                "instance nave",
                f"local {LOCAL}",
                f"secret {self.sync}",
                f"secretdir {self.keys}",
                f"settings {self.settings}",
                "run control as root",
                "run cathedral as root",
                "run purgatory-rx as root",
                *lines,
                "",
            ]
        )

    def config(self, *lines: str) -> config.ServerConfig:
        return config.parse(self.text(*lines), "nave.conf")

    def bundle(self, name: str, *flocks: FlockId, generation: int = 7, days: int = 30) -> Path:
        """Write a bundle of the right form; what is wrapped in it nobody can open."""
        return self._write(name, bundle(*flocks, generation=generation, days=days))


def bundle(*flocks: FlockId, generation: int = 7, days: int = 30) -> bytes:
    own, peer = flocks[0], flocks[-1]
    shape = Shape(crossing=own != peer)
    names = [(a, b) for a in DEVICES for b in shape.peers(a)]
    layout = np.dtype([("flock", ">u8"), ("tunnel", ">u2"), ("wrapped", "V48")])
    assert layout.itemsize == ENTRY_BYTES
    entries = np.zeros(2 * len(names), layout)
    entries["flock"][0::2], entries["flock"][1::2] = own, peer
    entries["tunnel"][0::2] = [a << 8 | b for a, b in names]
    entries["tunnel"][1::2] = [b << 8 | a for a, b in names]
    expires = int(time.time() - EPOCH_S) // DAY_S + days
    data = Header(expires, generation, bytes(64)).encode() + entries.tobytes()
    assert len(data) == shape.size > HEADER_BYTES
    return data


class Client:
    """A device, with a socket of its own."""

    def __init__(self, keys: Keys, own: int, peer: int, flock: FlockId = FLOCK) -> None:
        self._suite = SystemSuite()
        self._base = client_offer_base(self._suite, keys.key(flock).read_bytes(), flock)
        self._cosk = keys.cosks[flock]
        self.flocks = Flocks(flock, flock)
        self.tunnel = TunnelId(own << 8 | peer)
        self.spi = Spi(self.tunnel << 16 | 0xBEEF)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(LIMIT_S)

    @property
    def address(self) -> Address:
        return Address(*self.socket.getsockname())

    def say(self, body: Request | None = None, *, nat: bool = False, to: Address = LOCAL) -> None:
        """Send an info of the tunnel, or something else."""
        default = InfoBody(self.tunnel, InstanceId(self.tunnel), 0, self.spi, skips_ambry=True)
        layout = NAT if nat else CATHEDRAL
        offer = seal_request(
            *(self._suite, self._base, self.flocks, IDENTITY, int(time.time())),
            *(body or default, self._cosk, layout),
        )
        self.socket.sendto(offer, to)

    def hear(self) -> Opened[Answer]:
        """Wait for an answer."""
        return open_answer_untrusted(self._suite, self._base, IDENTITY, self.socket.recv(2048))

    def register(self, other: Client) -> None:
        """Register both ends; each is told where the other is, once."""
        for end in (self, other, self):
            end.say()
        for end in (self, other):
            end.hear()


def traffic(receiver: Client, size: int = 1400, number: int = 0) -> bytes:
    """A packet that a cathedral passes on; what is in it doesn't matter to it."""
    head = struct.pack("!IIQQQ", receiver.spi, number, number, *receiver.flocks)
    return head.ljust(size, b"\x5a")

"""The reference's recorded messages to, from and between cathedrals, and what they say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chancel.crypto.kdf import OfferKind
from chancel.crypto.kdf_cathedral import client_offer_base, federation_offer_base
from chancel.crypto.system import SystemSuite
from chancel.wire.ambry import Header
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT, Answer, Federated, Request
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferHeader, OfferLayout
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi

FILES = Path(__file__).parents[1] / "vectors"
SUITE = SystemSuite()


class DrawnSuite(SystemSuite):
    """Draws what the reference drew, in one draw."""

    def __init__(self, drawn: bytes) -> None:
        super().__init__()
        self._drawn = drawn

    def random(self, size: int) -> bytes:
        assert size == len(self._drawn)
        return self._drawn


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """One packet, and the keys of the client that it is from, for or about."""

    name: str
    vector: dict[str, Any]
    cathedral_secret: bytes
    cosk: bytes
    public: bytes
    sync_secret: bytes | None

    def raw(self, name: str) -> bytes:
        return bytes.fromhex(self.vector[name])

    @property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.vector["fields"]
        return fields

    @property
    def header(self) -> OfferHeader:
        head = self.vector["header"]
        own, peer = int(head["flock_src"], 16), int(head["flock_dst"], 16)
        flocks = Flocks(FlockId(own), FlockId(peer))
        return OfferHeader(Spi(int(head["spi"], 16)), flocks, bytes.fromhex(head["seed"]))

    @property
    def identity(self) -> CathedralId:
        return CathedralId(self.header.spi)

    @property
    def timestamp(self) -> int:
        timestamp: int = self.fields["timestamp"]
        return timestamp

    @property
    def layout(self) -> OfferLayout:
        magic = bytes.fromhex(self.vector["header"]["magic"])
        return {layout.magic: layout for layout in (CATHEDRAL, NAT, FEDERATION)}[magic]

    @property
    def kind(self) -> OfferKind:
        return OfferKind.CATHEDRAL if self.sync_secret is None else OfferKind.FEDERATION

    @property
    def base(self) -> bytes:
        flock = FlockId(int(self.vector["key_flock"], 16))
        if self.sync_secret is None:
            return client_offer_base(SUITE, self.cathedral_secret, flock)
        return federation_offer_base(SUITE, self.sync_secret, flock)

    @property
    def captured_to(self) -> Address:
        return address(self.vector["captured_to"])

    def redrawn(self, *parts: bytes) -> DrawnSuite:
        """A suite that draws the packet's seed and then these parts."""
        return DrawnSuite(b"".join((self.header.seed, *parts)))


def load(file: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FILES / f"{file}.json").read_text())
    return record


def recorded(*files: str) -> list[Recorded]:
    """All packets of these files."""
    return [each for file in files for each in _of(file, load(file))]


def _of(file: str, record: dict[str, Any]) -> Iterator[Recorded]:
    identities = record.get("identities") or [record["identity"]]
    known = {each["cathedral_id"]: each for each in identities}
    sync = record.get("sync_secret")
    for number, vector in enumerate(record["vectors"]):
        keys = known[vector["header"]["spi"]]
        yield Recorded(
            f"{file}-{number}",
            vector,
            bytes.fromhex(keys["cathedral_secret"]),
            bytes.fromhex(keys["cosk_secret_64"]),
            bytes.fromhex(keys["cosk_public_32"]),
            bytes.fromhex(sync) if sync else None,
        )


def address(text: str) -> Address:
    host, port = text.split(":")
    return Address(host, int(port))


def _address(ip: str, port: str) -> Address | None:
    host = ".".join(str(each) for each in bytes.fromhex(ip))
    return Address(host, int(port, 16)) if int(ip, 16) else None


def _number(text: str) -> int:
    return int(text, 16)


def request(fields: dict[str, Any]) -> Request:
    """What a client said."""
    return _info(fields) if fields["type"] == 3 else _liturgy(fields)


def answer(fields: dict[str, Any]) -> Answer:
    """What a cathedral said to a client."""
    said: dict[int, Callable[[dict[str, Any]], Answer]] = {
        2: _ambry,
        3: _answer,
        4: _liturgy,
        5: _remembrance,
    }
    return said[fields["type"]](fields)


def federated(fields: dict[str, Any]) -> Federated:
    """What a cathedral said to another."""
    return _peer_info(fields) if fields["type"] == 7 else request(fields)


def _info(fields: dict[str, Any]) -> InfoBody:
    assert not int(fields["peer_ip"] + fields["peer_port"], 16)
    assert not int(fields["local_ip"] + fields["local_port"], 16)
    return InfoBody(
        TunnelId(_number(fields["tunnel"])),
        InstanceId(_number(fields["instance"])),
        _number(fields["ambry_generation"]),
        Spi(_number(fields["rx_active"])) or None,
        Spi(_number(fields["rx_pending"])) or None,
        bool(fields["flags"] & 1),
        bool(fields["flags"] & 2),
    )


def _answer(fields: dict[str, Any]) -> AnswerBody:
    for unused in ("tunnel", "ambry_generation", "rx_active", "rx_pending", "instance"):
        assert _number(fields[unused]) == 0
    return AnswerBody(
        _address(fields["peer_ip"], fields["peer_port"]),
        bytes.fromhex(fields["local_ip"] + fields["local_port"]),
        bool(fields["flags"] & 2),
    )


def _liturgy(fields: dict[str, Any]) -> LiturgyBody:
    return LiturgyBody(
        fields["id"],
        _number(fields["group"]),
        bytes(id_ in fields["peers_set"] for id_ in range(255)),
        bool(fields["hidden"]),
        bool(fields["flags"] & 1),
        bool(fields["flags"] & 2),
    )


def _remembrance(fields: dict[str, Any]) -> RemembranceBody:
    return RemembranceBody(tuple(address(each) for each in fields["addresses"]))


def _ambry(fields: dict[str, Any]) -> AmbryBody:
    seed = bytes.fromhex(fields["seed"])
    return AmbryBody(
        TunnelId(_number(fields["tunnel"])),
        Header(fields["expires"], _number(fields["generation"]), seed),
        bytes.fromhex(fields["wrapped_key"] + fields["tag"]),
    )


def _peer_info(fields: dict[str, Any]) -> PeerInfoBody:
    return PeerInfoBody(
        TunnelId(_number(fields["tunnel"])),
        _address(fields["ip"], fields["port"]),
        bool(fields["peerinfo"]),
    )

"""What the processes need to know about one tunnel, as the guardian tells it to them."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from chancel.daemon.config_types import Mode, Network, ProfileName
from chancel.daemon.offloads import ALL, Offload
from chancel.protocol.profile import CURRENT, V0_9, Profile
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId, Flocks

PROFILES = {ProfileName.CURRENT: CURRENT, ProfileName.LEGACY: V0_9}


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralSettings:
    """How a tunnel deals with cathedrals (``config_types.CathedralConfig``); paths are empty for
    none.

    ``addresses`` are those known from the start, in the order of the file; names that have to be
    looked up first are told of later.
    """

    addresses: tuple[Address, ...]
    identity: CathedralId
    secret: str
    cosk: str
    nat_port: int = 0
    remembrance: str = ""
    kek: str = ""
    peer_fixed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CathedralSettings:
        """Inverse of :meth:`to_json`."""
        addresses = tuple(Address(*address) for address in data["addresses"])
        return cls(**data | {"addresses": addresses})


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelSettings:
    """One tunnel. ``secret`` is the path of its shared secret and ``encapsulation``, unless empty,
    that of a masking key; only the keeper opens them.

    ``tunnel`` is ``None`` for a TAP device; ``tunnel6`` is an IPv6 address beside it.
    ``frame_header`` is what stands before each IP packet on the device descriptor, between the
    vnet header and the packet: empty for TUN and TAP, an Ethernet header for a packet socket in
    place of TUN. ``offloads``: those of device and socket that are on. ``tags_aside``: VLAN tags
    come beside the frame, as from a packet socket.
    """

    instance: str
    tunnel: ipaddress.IPv4Interface | None
    accepts: tuple[Network, ...]
    mtu: int
    mtu_discovery: bool
    peer: Address | None
    flocks: Flocks
    spi_prefix: int
    secret: str
    frame_header: bytes = b""
    tun_vnet: bool = True
    offloads: Offload = ALL
    mode: Mode = Mode.TUNNEL
    tunnel6: ipaddress.IPv6Interface | None = None
    tap: bool = False
    tags_aside: bool = False
    tfc: bool = False
    shroud: bool = False
    profile: ProfileName = ProfileName.CURRENT
    encapsulation: str = ""
    cathedral: CathedralSettings | None = None

    @property
    def protocol(self) -> Profile:
        """The version of the protocol that is spoken."""
        return PROFILES[self.profile]

    @property
    def networks(self) -> tuple[Network, ...]:
        """Where inner packets may come from and go to: the device's networks and the accepts."""
        own = (self.tunnel, self.tunnel6)
        return (*(each.network for each in own if each is not None), *self.accepts)

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return {
            "instance": self.instance,
            "tunnel": str(self.tunnel) if self.tunnel else None,
            "accepts": [str(network) for network in self.accepts],
            "mtu": self.mtu,
            "mtu_discovery": self.mtu_discovery,
            "peer": list(self.peer) if self.peer else None,
            "flocks": list(self.flocks),
            "spi_prefix": self.spi_prefix,
            "secret": self.secret,
            "frame_header": self.frame_header.hex(),
            "tun_vnet": self.tun_vnet,
            "offloads": self.offloads,
            "mode": self.mode,
            "tunnel6": str(self.tunnel6) if self.tunnel6 else None,
            "tap": self.tap,
            "tags_aside": self.tags_aside,
            "tfc": self.tfc,
            "shroud": self.shroud,
            "profile": self.profile,
            "encapsulation": self.encapsulation,
            "cathedral": self.cathedral and self.cathedral.to_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TunnelSettings:
        """Inverse of :meth:`to_json`."""
        return cls(
            instance=data["instance"],
            tunnel=ipaddress.IPv4Interface(data["tunnel"]) if data["tunnel"] else None,
            accepts=tuple(ipaddress.ip_network(text) for text in data["accepts"]),
            mtu=data["mtu"],
            mtu_discovery=data["mtu_discovery"],
            peer=Address(*data["peer"]) if data["peer"] else None,
            flocks=Flocks(*[FlockId(number) for number in data["flocks"]]),
            spi_prefix=data["spi_prefix"],
            secret=data["secret"],
            frame_header=bytes.fromhex(data["frame_header"]),
            tun_vnet=data["tun_vnet"],
            offloads=Offload(data["offloads"]),
            mode=Mode(data["mode"]),
            tunnel6=ipaddress.IPv6Interface(data["tunnel6"]) if data["tunnel6"] else None,
            tap=data["tap"],
            tags_aside=data["tags_aside"],
            tfc=data["tfc"],
            shroud=data["shroud"],
            profile=ProfileName(data["profile"]),
            encapsulation=data["encapsulation"],
            cathedral=CathedralSettings.from_json(data["cathedral"]) if data["cathedral"] else None,
        )

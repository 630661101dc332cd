"""What the processes need to know about one tunnel, as the guardian tells it to them."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from chancel.wire.types import Address, FlockId, Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelSettings:
    """One tunnel. ``secret`` is the path of its shared secret; only chapel opens it.

    ``frame_header`` is what stands before each IP packet on the device descriptor, between the
    vnet header and the packet: empty for TUN, an Ethernet header for a packet socket.
    """

    instance: str
    tunnel: ipaddress.IPv4Interface
    accepts: tuple[ipaddress.IPv4Network, ...]
    mtu: int
    mtu_discovery: bool
    peer: Address | None
    flocks: Flocks
    spi_prefix: int
    secret: str
    frame_header: bytes = b""
    tun_vnet: bool = True
    tun_uso: bool = False
    udp_gso: bool = True
    udp_gro: bool = True

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return {
            "instance": self.instance,
            "tunnel": str(self.tunnel),
            "accepts": [str(network) for network in self.accepts],
            "mtu": self.mtu,
            "mtu_discovery": self.mtu_discovery,
            "peer": list(self.peer) if self.peer else None,
            "flocks": list(self.flocks),
            "spi_prefix": self.spi_prefix,
            "secret": self.secret,
            "frame_header": self.frame_header.hex(),
            "tun_vnet": self.tun_vnet,
            "tun_uso": self.tun_uso,
            "udp_gso": self.udp_gso,
            "udp_gro": self.udp_gro,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TunnelSettings:
        """Inverse of :meth:`to_json`."""
        return cls(
            instance=data["instance"],
            tunnel=ipaddress.IPv4Interface(data["tunnel"]),
            accepts=tuple(ipaddress.IPv4Network(text) for text in data["accepts"]),
            mtu=data["mtu"],
            mtu_discovery=data["mtu_discovery"],
            peer=Address(*data["peer"]) if data["peer"] else None,
            flocks=Flocks(*[FlockId(number) for number in data["flocks"]]),
            spi_prefix=data["spi_prefix"],
            secret=data["secret"],
            frame_header=bytes.fromhex(data["frame_header"]),
            tun_vnet=data["tun_vnet"],
            tun_uso=data["tun_uso"],
            udp_gso=data["udp_gso"],
            udp_gro=data["udp_gro"],
        )

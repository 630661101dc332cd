"""Settings travel to the processes in one message, the largest ones too."""

from __future__ import annotations

import json
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network

from chancel.daemon.config_directives import MAX_NETWORKS
from chancel.daemon.link import MAX_MESSAGE_BYTES
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId, Flocks

LONGEST = "fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:"


def test_the_largest_settings_fit_a_message() -> None:
    settings = TunnelSettings(
        instance="x" * 15,
        tunnel=IPv4Interface("192.168.100.100/30"),
        accepts=tuple(IPv6Network(f"{LONGEST}{n + 0x1000:x}") for n in range(MAX_NETWORKS)),
        mtu=1422,
        mtu_discovery=False,
        peer=Address(f"{LONGEST}ffff", 65535),
        flocks=Flocks(FlockId(2**64 - 1), FlockId(2**64 - 1)),
        spi_prefix=0xFFFF,
        secret="\xe9" * 4000,
        tunnel6=IPv6Interface(f"{LONGEST}1/128"),
        cathedral=CathedralSettings(
            addresses=tuple(Address(f"203.100.100.{n + 100}", 65535) for n in range(32)),
            identity=CathedralId(2**32 - 1),
            secret="\xe9" * 4000,
            cosk="\xe9" * 4000,
            nat_port=65535,
            remembrance="\xe9" * 4000,
            kek="\xe9" * 4000,
        ),
    )
    order = {"do": "add", "tunnel": 255, "settings": settings.to_json()}
    assert len(json.dumps(order)) <= MAX_MESSAGE_BYTES
    assert TunnelSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings

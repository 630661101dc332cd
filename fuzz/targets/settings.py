"""Settings come out of their JSON form as they went in; other JSON raises an ordinary error.

Only the guardian says them, so a KeyError, TypeError or ValueError is enough of a refusal.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network

from chancel.daemon.settings import TunnelSettings
from chancel.wire.types import Address, FlockId, Flocks


def check(data: bytes) -> None:
    with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError):
        settings = TunnelSettings.from_json(json.loads(data))
        again = TunnelSettings.from_json(json.loads(json.dumps(settings.to_json())))
        assert again == settings or "NaN" in json.dumps(settings.to_json())


def seeds() -> Iterator[bytes]:
    settings = TunnelSettings(
        instance="t0",
        tunnel=IPv4Interface("10.77.0.1/30"),
        accepts=(IPv4Network("10.0.0.0/8"),),
        mtu=1422,
        mtu_discovery=False,
        peer=Address("192.0.2.1", 2333),
        flocks=Flocks(FlockId(1), FlockId(2)),
        spi_prefix=0,
        secret="/etc/key",
        frame_header=bytes(14),
    )
    yield json.dumps(settings.to_json()).encode()

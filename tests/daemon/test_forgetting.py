"""Tunnels that leave are forgotten at once: data processes have no collector for cycles, and that
of a keeper comes by after dozens of tunnels, each of which would have its keys until then."""

from __future__ import annotations

import gc
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import keeping
from chancel.daemon.config_types import Mode
from chancel.daemon.duties import chapel
from chancel.daemon.guardian import load_duties
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.wire.types import Address
from tests.daemon.benches import Bench
from tests.protocol.registration_world import (
    FLOCKS,
    IDENTITY,
    KEK,
    PUBLIC,
    SECRET,
    SHARED,
    SIGNING,
    TUNNEL,
)

CIPHERS = ("bless", "confess")
CARRIERS = ("purgatory-rx", "purgatory-tx", "heaven-rx", "heaven-tx")
"""Those who get a descriptor."""

shrouds = pytest.mark.parametrize("shroud", [False, True], ids=["plain", "shroud"])


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def settings(
    *, shroud: bool, secret: str = "", cathedral: CathedralSettings | None = None
) -> TunnelSettings:
    return TunnelSettings(
        instance="gone",
        tunnel=None,
        accepts=(),
        mtu=1300,
        mtu_discovery=False,
        peer=Address("127.0.0.1", 9),
        flocks=FLOCKS,
        spi_prefix=TUNNEL,
        secret=secret,
        shroud=shroud,
        cathedral=cathedral,
    )


def keys(home: Path) -> tuple[str, CathedralSettings]:
    """The files of a tunnel with a cathedral: that of its secret, and the others."""
    written = {"secret": SHARED, "cs": SECRET, "cosk": SIGNING + PUBLIC, "kek": KEK}
    for name, content in written.items():
        (home / name).touch(0o600)
        (home / name).write_bytes(content)
    secret, cs, cosk, kek = (str(home / name) for name in written)
    at = (Address("127.0.0.1", 10), Address("127.0.0.2", 10))
    return secret, CathedralSettings(at, IDENTITY, cs, cosk, kek=kek)


@shrouds
@pytest.mark.parametrize("name", CIPHERS + CARRIERS)
@pytest.mark.usefixtures("no_collector")
def test_a_data_process_keeps_nothing_of_a_tunnel(name: str, shroud: bool) -> None:
    bench = Bench(name)
    try:
        duty: Any = load_duties(Mode.TUNNEL)[name](bench.process)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            duty.add(0, settings(shroud=shroud), [udp.detach()] if name in CARRIERS else [])
        entry = weakref.ref(duty._tunnels[0])
        duty.remove(0)
        assert entry() is None
    finally:
        bench.close()


@shrouds
@pytest.mark.parametrize("relayed", [False, True], ids=["configured", "cathedrals"])
@pytest.mark.usefixtures("no_collector")
def test_a_keeper_keeps_nothing_of_a_tunnel(shroud: bool, relayed: bool, tmp_path: Path) -> None:
    secret, cathedral = keys(tmp_path)
    bench = Bench("chapel")
    try:
        duty = chapel.make(bench.process)
        used = settings(shroud=shroud, secret=secret, cathedral=cathedral if relayed else None)
        duty.add(0, used, [])
        duty.wake(time.monotonic() + 1.0)
        kept = machines(duty._tunnels[0])
        assert len(kept) == 2 + 2 * relayed + shroud, "each of them has read a secret"
        duty.remove(0)
        assert [name for name, machine in kept.items() if machine() is not None] == []
    finally:
        bench.close()


def machines(entry: keeping._Tunnel) -> dict[str, weakref.ref[object]]:
    """What has keys of a tunnel."""
    client = entry.client
    parts = {
        "tunnel": entry,
        "exchange": entry.machine,
        "mask": entry.mask_keys,
        "client": client,
        "registration": client and client._registration,
    }
    return {name: weakref.ref(part) for name, part in parts.items() if part is not None}

"""Tunnels that leave are forgotten at once: data processes have no collector for cycles."""

from __future__ import annotations

import gc
import socket
import weakref

import pytest

from chancel.daemon.duties.purgatory_tx import PurgatoryTx
from chancel.daemon.settings import TunnelSettings
from chancel.wire.types import Address, FlockId, Flocks
from tests.daemon.benches import Bench


@pytest.mark.parametrize("shroud", [False, True], ids=["plain", "shroud"])
def test_purgatory_tx_keeps_nothing_of_a_tunnel(shroud: bool) -> None:
    bench = Bench("purgatory-tx")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    settings = TunnelSettings(
        instance="gone",
        tunnel=None,
        accepts=(),
        mtu=1300,
        mtu_discovery=False,
        peer=Address("127.0.0.1", 9),
        flocks=Flocks(FlockId(0), FlockId(0)),
        spi_prefix=0,
        secret="",
        shroud=shroud,
    )
    gc.disable()
    try:
        duty = PurgatoryTx(bench.process)
        duty.add(0, settings, [udp.detach()])
        entry = weakref.ref(duty._tunnels[0])
        duty.remove(0)
        assert entry() is None
    finally:
        gc.enable()
        bench.close()

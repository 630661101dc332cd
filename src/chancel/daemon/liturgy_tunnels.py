"""The tunnel to each member of a liturgy: its whole configuration follows from the liturgy's.

The reference's bishop writes such files and has ``hymn`` start them; here they never exist. Names,
addresses and secret files are those that it would write (cathedral section 7.4), so the two ends of
a tunnel may be of different makers.
"""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import MappingProxyType

from chancel.daemon.config_directives import ANY
from chancel.daemon.config_liturgy import LiturgyConfig
from chancel.daemon.config_types import (
    MAX_MTU,
    SHROUD_OVERHEAD_BYTES,
    CathedralConfig,
    Place,
    TunnelConfig,
)
from chancel.wire.types import Address, Flocks

_INSTANCE_FLOCK_CHARS = 8
"""So much of a flock goes into the name of a device, which has 15 at most."""


def tunnel_to(config: LiturgyConfig, device: int, in_use: Address | None) -> TunnelConfig:
    """The tunnel to ``device``, another one from 1 to 254. ``in_use``: the cathedral that named it.

    That cathedral comes first; those of the file follow, as it may be one that is only remembered.
    """
    own, devices = config.device, f"{config.device:02x}-{device:02x}"
    flock = f"{config.flock:x}"
    inside = None if config.tap else IPv4Interface((_inside(config, own, device), 32))
    there = () if config.tap else (IPv4Network((_inside(config, device, own), 32)),)
    return TunnelConfig(
        file=config.file,
        instance=f"{flock[:_INSTANCE_FLOCK_CHARS]}-{devices}",
        descr="",
        secret=secret_of(config, device),
        spi_prefix=own << 8 | device,
        tunnel=inside,
        mtu=MAX_MTU - SHROUD_OVERHEAD_BYTES * config.shroud,
        mtu_discovery=True,
        local=ANY,
        peer=None,
        routes=there,
        accepts=there,
        run_as=config.run_as,
        control=None,
        pidfile=None,
        flocks=Flocks(config.flock, config.flock),
        offloads=config.offloads,
        tap=config.tap,
        bridge=config.bridge,
        shroud=config.shroud,
        cathedral=_cathedral(config.cathedral, in_use),
        accelerator=config.accelerator,
        lines=MappingProxyType({}),
    )


def secret_of(config: LiturgyConfig, device: int) -> Path:
    """Where the secret shared with a device is kept, once an ambry has brought it."""
    flock = f"{config.flock:x}"
    return config.secretdir / f"{flock}-{flock}-{config.device:02x}-{device:02x}.secret"


def _inside(config: LiturgyConfig, near: int, far: int) -> IPv4Address:
    return config.prefix + (near << 8 | far)


def _cathedral(config: CathedralConfig, in_use: Address | None) -> CathedralConfig:
    """As the liturgy's, but that a tunnel of it remembers none."""
    first = () if in_use is None else (Place(in_use.host, in_use.port),)
    places = tuple(dict.fromkeys((*first, *config.places)))
    return dataclasses.replace(config, places=places, remembrance=None)

"""What the guardian opens for one tunnel, and how all of it is undone."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
from pathlib import Path
from typing import Any

from chancel.daemon import ctl_socket, offloads, peers, places, udp
from chancel.daemon.config_types import CathedralConfig, Mode, TunnelConfig
from chancel.daemon.device_setup import SetUp
from chancel.daemon.device_types import Device
from chancel.daemon.interface import Interface
from chancel.daemon.linux import MachineError
from chancel.daemon.offloads import Offload
from chancel.daemon.pidfile import PidFile
from chancel.daemon.settings import PROFILES, CathedralSettings, TunnelSettings
from chancel.daemon.udp import UdpSocket
from chancel.wire.types import Address

log = logging.getLogger("chancel.daemon")


@dataclasses.dataclass(slots=True)
class Tunnel:
    """One tunnel of the group. Its descriptors are the guardian's until they are handed over."""

    config: TunnelConfig
    device: Device
    interface: Interface
    udp: UdpSocket
    ctl: socket.socket
    status: socket.socket | None
    pidfile: PidFile | None
    mtu: int
    local: Address
    peers: int | None
    _descriptors: contextlib.ExitStack
    _files: contextlib.ExitStack

    @classmethod
    def open(cls, config: TunnelConfig, runtime_dir: Path, setup: SetUp) -> Tunnel:
        """Make sockets, device, addresses and routes; on an error, nothing of it is left.

        Raises :class:`MachineError`, which names the file.
        """
        with contextlib.ExitStack() as files, contextlib.ExitStack() as descriptors:
            try:
                tunnel = cls._open(config, runtime_dir, setup, files, descriptors)
            except (MachineError, OSError) as error:
                raise MachineError(f"{config.file}: {error}") from error
            tunnel._files = files.pop_all()
            tunnel._descriptors = descriptors.pop_all()
            tunnel._tell_offloads()
            return tunnel

    @classmethod
    def _open(
        cls,
        config: TunnelConfig,
        runtime_dir: Path,
        setup: SetUp,
        files: contextlib.ExitStack,
        descriptors: contextlib.ExitStack,
    ) -> Tunnel:
        ctl_path = places.control_socket(runtime_dir, config.instance)
        ctl = descriptors.enter_context(ctl_socket.open_ctl(ctl_path))
        files.callback(ctl_socket.remove, ctl_path)
        status = None
        if config.control is not None:
            status = descriptors.enter_context(ctl_socket.open_status(config.control))
            files.callback(ctl_socket.remove, config.control.path)
        pidfile = None
        if config.pidfile is not None:
            pidfile = PidFile.claim(config.pidfile)
            files.callback(pidfile.remove)
        bound = udp.open_udp(
            config.local,
            gso=Offload.GSO in config.offloads,
            gro=Offload.GRO in config.offloads,
        )
        descriptors.enter_context(bound.socket)
        made, interface = setup.make(config)
        files.callback(interface.close)
        descriptors.callback(os.close, made.fd)
        return cls(
            config=config,
            device=made,
            interface=interface,
            udp=bound,
            ctl=ctl,
            status=status,
            pidfile=pidfile,
            mtu=config.mtu,
            local=Address(*bound.socket.getsockname()[:2]),
            peers=_open_peers(config, runtime_dir, files, descriptors),
            _descriptors=descriptors,
            _files=files,
        )

    @property
    def offloads(self) -> Offload:
        """Those that were wanted and that there are."""
        return self.device.offloads | offloads.of_socket(gso=self.udp.gso, gro=self.udp.gro)

    def _tell_offloads(self) -> None:
        wanted, found = self.config.offloads, self.offloads
        log.info(
            "offloads tunnel=%s on=%s off=%s refused=%s",
            self.config.instance,
            offloads.names(found),
            offloads.names(~wanted),
            offloads.names(wanted & ~found),
        )

    def settings(self) -> TunnelSettings:
        """What the duties have to know."""
        return TunnelSettings(
            instance=self.config.instance,
            tunnel=self.config.tunnel,
            accepts=self.config.accepts,
            mtu=self.config.mtu,
            mtu_discovery=self.config.mtu_discovery,
            peer=self.config.peer,
            flocks=self.config.flocks,
            spi_prefix=self.config.spi_prefix,
            secret=str(self.config.secret),
            frame_header=self.device.frame_header,
            tun_vnet=self.device.vnet,
            offloads=self.offloads,
            mode=self.config.mode,
            tunnel6=self.config.tunnel6,
            tap=self.config.tap,
            tags_aside=self.device.tags_aside,
            tfc=self.config.tfc,
            shroud=self.config.shroud,
            profile=self.config.profile,
            encapsulation=str(self.config.encapsulation or ""),
            cathedral=_cathedral(self.config.cathedral),
        )

    def about(self) -> dict[str, Any]:
        """What people want to see in ``chancel status`` and no duty has to know."""
        return {
            "descr": self.config.descr,
            "device": self.device.name,
            "tap": self.config.tap,
            "bridge": self.config.bridge,
            "local": str(self.local),
            "offloads": offloads.states(self.config.offloads, self.offloads),
        }

    def descriptors_for(self, duty: str) -> list[int]:
        """What the process with this duty gets of the tunnel."""
        match duty:
            case "heaven-rx" | "heaven-tx":
                return [self.device.fd]
            case "purgatory-rx" | "purgatory-tx":
                return [self.udp.socket.fileno()]
            case "control":
                sockets = [self.ctl] if self.status is None else [self.ctl, self.status]
                return [end.fileno() for end in sockets]
            case "chapel":
                return [] if self.peers is None else [self.peers]
            case _:
                return []

    def handed_over(self) -> None:
        """Close our own descriptors: from now on the tunnel lives in the duties."""
        self._descriptors.close()

    def announce(self) -> None:
        """Say in the pid file that the tunnel is up. Raises :class:`MachineError`."""
        if self.pidfile is not None:
            try:
                self.pidfile.write()
            except MachineError as error:
                raise MachineError(f"{self.config.file}: {error}") from error

    def adopt_mtu(self, discovered: int) -> bool:
        """Set the device to a path MTU that discovery found; False if nothing changed.

        A peer may say what it likes: the result is never above what the file allows.
        """
        wanted = max(PROFILES[self.config.profile].mtu_minimum, min(discovered, self.config.mtu))
        if wanted == self.mtu:
            return False
        self.interface.set_mtu(self.config.device_mtu(wanted))
        self.mtu = wanted
        return True

    def close(self) -> None:
        """Close and unlink what is left, and wait for the device to disappear."""
        self._descriptors.close()
        self.interface.wait_gone()
        self._files.close()


def _open_peers(
    config: TunnelConfig,
    runtime_dir: Path,
    files: contextlib.ExitStack,
    descriptors: contextlib.ExitStack,
) -> int | None:
    """The file for the last addresses of a peer that has none in the configuration: beside what an
    ambry or a cathedral brings, if anything, as that stays when the machine goes down.
    """
    if config.mode is not Mode.TUNNEL or (config.peer and not config.cathedral):
        return None
    beside = [path.parent for _directive, path in config.written_files]
    for directory in (*beside[:1], runtime_dir):
        path = peers.path_of(directory, config.instance)
        try:
            fd = peers.open_file(path)
        except OSError as error:
            problem = error
        else:
            files.callback(peers.remove_unused, path)
            descriptors.callback(os.close, fd)
            return fd
    log.warning("peer's address won't be kept tunnel=%s error=%s", config.instance, problem)
    return None


def _cathedral(config: CathedralConfig | None) -> CathedralSettings | None:
    """Names are looked up once the tunnel is there: that may take long, or fail for now."""
    if config is None:
        return None
    addresses = [place.address for place in config.places]
    return CathedralSettings(
        addresses=tuple(address for address in addresses if address is not None),
        identity=config.identity,
        secret=str(config.secret),
        cosk=str(config.cosk),
        nat_port=config.nat_port,
        remembrance=str(config.remembrance or ""),
        kek=str(config.kek or ""),
        peer_fixed=config.peer_fixed,
    )

"""What the guardian opens for a cathedral, and how all of it is undone."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from pathlib import Path
from typing import Any

from chancel.cathedrald.config import ServerConfig
from chancel.cathedrald.news import CathedralSettings
from chancel.daemon import ctl_socket, offloads, places, udp
from chancel.daemon.link import make_link
from chancel.daemon.linux import MachineError
from chancel.daemon.offloads import OF_SOCKET, Offload
from chancel.daemon.pidfile import PidFile
from chancel.daemon.udp import UdpSocket

BUFFER_BYTES = 64 << 20
"""Of each socket and direction, as far as the machine allows: 20,000 devices may all speak at once,
and the kernel counts some 2 KB for an offer."""


@dataclasses.dataclass(slots=True)
class Opened:
    """Sockets and files of a cathedral. The descriptors are the guardian's until handed over."""

    config: ServerConfig
    main: UdpSocket
    nat: UdpSocket | None
    ctl: socket.socket
    status: socket.socket | None
    news: tuple[socket.socket, socket.socket]
    """A link: the cathedral's end, and control's."""
    pidfile: PidFile | None
    _descriptors: contextlib.ExitStack
    _files: contextlib.ExitStack

    @classmethod
    def open(cls, config: ServerConfig, runtime_dir: Path) -> Opened:
        """Make everything; on an error, nothing of it is left. Raises :class:`MachineError`."""
        with contextlib.ExitStack() as files, contextlib.ExitStack() as descriptors:
            try:
                opened = cls._open(config, runtime_dir, files, descriptors)
            except (MachineError, OSError) as error:
                raise MachineError(f"{config.file}: {error}") from error
            opened._files = files.pop_all()
            opened._descriptors = descriptors.pop_all()
            return opened

    @classmethod
    def _open(
        cls,
        config: ServerConfig,
        runtime_dir: Path,
        files: contextlib.ExitStack,
        descriptors: contextlib.ExitStack,
    ) -> Opened:
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
        bound = [
            udp.open_udp(
                address,
                gso=Offload.GSO in config.offloads,
                gro=Offload.GRO in config.offloads,
                buffer_bytes=BUFFER_BYTES,
            )
            for address in (config.local, config.nat_local)
            if address is not None
        ]
        for each in bound:
            descriptors.enter_context(each.socket)
        news = make_link()
        for end in news:
            end.setblocking(False)
            descriptors.enter_context(end)
        return cls(
            config=config,
            main=bound[0],
            nat=bound[1] if len(bound) > 1 else None,
            ctl=ctl,
            status=status,
            news=news,
            pidfile=pidfile,
            _descriptors=descriptors,
            _files=files,
        )

    def settings(self) -> CathedralSettings:
        """What the processes have to know."""
        return CathedralSettings.of(self.config, gso=self.main.gso, gro=self.main.gro)

    def _found(self) -> Offload:
        return offloads.of_socket(gso=self.main.gso, gro=self.main.gro)

    def about(self) -> dict[str, Any]:
        """What people want to see in ``chancel status`` and no process has to know."""
        config = self.config
        return {
            "descr": config.descr,
            "local": str(config.local),
            "nat_local": str(config.nat_local) if config.nat_local else None,
            "offloads": offloads.states(config.offloads, self._found(), among=OF_SOCKET),
        }

    def descriptors_for(self, name: str) -> list[int]:
        """What the process gets when it is told of the cathedral."""
        if name == "control":
            sockets = [self.ctl, self.status]
        else:
            sockets = [self.news[0], self.main.socket, self.nat.socket if self.nat else None]
        return [each.fileno() for each in sockets if each is not None]

    def handed_over(self) -> None:
        """Close our own descriptors: from now on they live in the processes."""
        self._descriptors.close()

    def announce(self) -> None:
        """Say in the pid file that the cathedral is up. Raises :class:`MachineError`."""
        if self.pidfile is not None:
            self.pidfile.write()

    def close(self) -> None:
        """Close and unlink what is left."""
        self._descriptors.close()
        self._files.close()

"""What the guardian opens for a liturgy itself, and how all of it is undone."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from pathlib import Path
from typing import Any

from chancel.daemon import ctl_socket, places, udp
from chancel.daemon.config_liturgy import LiturgyConfig
from chancel.daemon.linux import MachineError
from chancel.daemon.liturgy_settings import LiturgySettings
from chancel.daemon.pidfile import PidFile
from chancel.wire.types import Address

BUFFER_BYTES = 64 * 1024
"""Of each direction: an answer comes every five seconds, and strangers have to stop somewhere."""


@dataclasses.dataclass(slots=True)
class OpenedLiturgy:
    """A liturgy's sockets and files. Descriptors are the guardian's until they are handed over."""

    config: LiturgyConfig
    ctl: socket.socket
    udp: socket.socket
    local: Address
    pidfile: PidFile | None
    _descriptors: contextlib.ExitStack
    _files: contextlib.ExitStack

    @classmethod
    def open(cls, config: LiturgyConfig, runtime_dir: Path) -> OpenedLiturgy:
        """Make sockets and files; on an error, nothing of them is left.

        Raises :class:`MachineError`, which names the file.
        """
        with contextlib.ExitStack() as files, contextlib.ExitStack() as descriptors:
            try:
                path = places.control_socket(runtime_dir, config.instance)
                ctl = descriptors.enter_context(ctl_socket.open_ctl(path))
                files.callback(ctl_socket.remove, path)
                pidfile = None
                if config.pidfile is not None:
                    pidfile = PidFile.claim(config.pidfile)
                    files.callback(pidfile.remove)
                bound = udp.open_udp(
                    config.local, gso=False, gro=False, buffer_bytes=BUFFER_BYTES
                ).socket
                descriptors.enter_context(bound)
            except (MachineError, OSError) as error:
                raise MachineError(f"{config.file}: {error}") from error
            local = Address(*bound.getsockname()[:2])
            return cls(config, ctl, bound, local, pidfile, descriptors.pop_all(), files.pop_all())

    def settings(self) -> LiturgySettings:
        """What the processes have to know."""
        config, cathedral = self.config, self.config.cathedral
        addresses = [place.address for place in cathedral.places]
        return LiturgySettings(
            instance=config.instance,
            device=config.device,
            group=config.group,
            hidden=not config.discoverable,
            flock=config.flock,
            identity=cathedral.identity,
            secret=str(cathedral.secret),
            cosk=str(cathedral.cosk),
            addresses=tuple(address for address in addresses if address is not None),
            remembrance=str(cathedral.remembrance or ""),
            shroud=config.shroud,
        )

    def about(self) -> dict[str, Any]:
        """What people want to see in ``chancel status`` and no process has to know."""
        return {
            "descr": self.config.descr,
            "prefix": str(self.config.prefix),
            "tap": self.config.tap,
            "bridge": self.config.bridge,
            "local": str(self.local),
        }

    def handed_over(self) -> None:
        """Close our own descriptors: from now on the processes have them."""
        self._descriptors.close()

    def announce(self) -> None:
        """Say in the pid file that it is up. Raises :class:`MachineError`."""
        if self.pidfile is not None:
            try:
                self.pidfile.write()
            except MachineError as error:
                raise MachineError(f"{self.config.file}: {error}") from error

    def close(self) -> None:
        """Close and unlink what is left."""
        self._descriptors.close()
        self._files.close()

"""The set-up process: makes the devices of tunnels, with their addresses and routes, and ends.

Netlink takes a library that is larger than a whole process of ours, and rights that no other code
needs. So it lives here, in a child that the guardian forks for the tunnels it is about to add. The
child loads the library while the guardian goes on, makes one device at a time when asked, and hands
back its descriptor and a socket in its network, or one sentence that says what failed. What was
made but not taken is gone when the child is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import select
import signal
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from types import TracebackType
from typing import NoReturn, Self

from chancel.daemon import child, device, logs, netconf
from chancel.daemon.cell import Cell
from chancel.daemon.config_types import Mode, Network, TunnelConfig
from chancel.daemon.device_types import Device
from chancel.daemon.interface import Interface
from chancel.daemon.link import MessageLink, make_link
from chancel.daemon.linux import MachineError
from chancel.daemon.offloads import Offload
from chancel.errors import LinkClosed

ANYWHERE: dict[int, Network] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}

ANSWER_LIMIT_S = 30.0
"""Generous: a machine that was paused for seconds is no broken kernel."""

_NAME = "setup"

log = logging.getLogger("chancel.daemon")


class SetUp:
    """The set-up process for these tunnels, for the length of a ``with`` block.

    ``shares_cell``: there are others in the cell, so none of them is the way to everywhere.
    """

    def __init__(
        self,
        configs: Sequence[TunnelConfig],
        cell: Cell | None = None,
        *,
        shares_cell: bool = False,
    ) -> None:
        self._configs = configs
        ours, theirs = make_link()
        guardian = os.getpid()
        with child.deaf():
            self._pid = os.fork()
            if self._pid == 0:
                _run(configs, cell, theirs, guardian, shares_cell=shares_cell)
        theirs.close()
        self._link = MessageLink(ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def make(self, config: TunnelConfig) -> tuple[Device, Interface]:
        """Make and configure the device of one of the tunnels; what is returned is the caller's.

        Raises :class:`MachineError`; then nothing of it is left.
        """
        try:
            self._link.send({"make": self._configs.index(config)})
            if not select.select([self._link], [], [], ANSWER_LIMIT_S)[0]:
                raise MachineError("the kernel takes too long to make a network device")
            received = self._link.receive(blocking=True)
        except LinkClosed as error:
            raise MachineError("the set-up process has ended (its log says why)") from error
        assert received is not None, "a blocking receive returns a message"
        message, fds = received
        if "error" in message:
            raise MachineError(message["error"])
        fd, network = fds
        about = message | {"fd": fd, "frame_header": bytes.fromhex(message["frame_header"])}
        made = Device(**about | {"offloads": Offload(message["offloads"])})
        return made, Interface(made.name, socket.socket(fileno=network))

    def close(self) -> None:
        """End the process. Does nothing the second time."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)  # it waits for another request
            os.waitpid(self._pid, 0)
            self._pid = 0
            self._link.close()


def _run(
    configs: Sequence[TunnelConfig],
    cell: Cell | None,
    end: socket.socket,
    guardian: int,
    *,
    shares_cell: bool,
) -> NoReturn:
    """Be the set-up process, until the guardian closes the link or is gone. Never returns."""
    status = 1
    try:
        child.settle(_NAME, guardian)
        if cell is not None:
            cell.enter_network()
        child.close_all_but(frozenset({end.fileno()}) | logs.descriptors())
        netconf.load_library()
        _serve(configs, MessageLink(end), owns_network=cell is not None and not shares_cell)
        status = 0
    except Exception:
        log.exception("failed")
    finally:
        os._exit(status)


def _serve(configs: Sequence[TunnelConfig], link: MessageLink, *, owns_network: bool) -> None:
    with contextlib.suppress(LinkClosed):
        while (received := link.receive(blocking=True)) is not None:
            try:
                made, interface = _make(configs[received[0]["make"]], owns_network)
            except (MachineError, OSError) as error:
                link.send({"error": str(error)})
                continue
            about = dataclasses.asdict(made) | {"frame_header": made.frame_header.hex()}
            fds = [about.pop("fd"), interface.network.fileno()]
            link.send(about, fds)
            os.close(made.fd)
            interface.close()


def _make(config: TunnelConfig, owns_network: bool) -> tuple[Device, Interface]:
    made = device.open_device(config.instance, wanted=config.offloads, tap=config.tap)
    interface = Interface.here(made.name)
    try:
        _configure(config, _routes(config, owns_network))
    except (MachineError, OSError):
        os.close(made.fd)
        interface.wait_gone()
        raise
    return made, interface


def _routes(config: TunnelConfig, owns_network: bool) -> tuple[Network, ...]:
    routes = () if config.mode is Mode.SHRINE else config.routes  # nothing goes that way
    return (*routes, *(_defaults(config) if owns_network else ()))


def _configure(config: TunnelConfig, routes: Sequence[Network]) -> None:
    mtu = config.device_mtu(config.mtu)
    if config.tap:
        netconf.configure_tap(config.instance, config.bridge, mtu, routes)
    else:
        netconf.configure(config.instance, config.tunnel, mtu, routes, tunnel6=config.tunnel6)


def _defaults(config: TunnelConfig) -> list[Network]:
    """Everything goes into the tunnel that has a cell to itself; what it doesn't carry is lost."""
    own = [ANYWHERE[address.version] for address in (config.tunnel, config.tunnel6) if address]
    return [network for network in own if network not in config.routes]

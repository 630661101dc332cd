"""Tunnels start and stop.

One that starts is a group of its own, in the background. One that stops may be of any group, or of
the reference's daemon: ours is asked on its socket and goes on with its other tunnels, the
reference's gets a signal.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from chancel.daemon import config, config_liturgy, ctl, places
from chancel.errors import LinkClosed, LocalProtocolError
from chancel.tools.hymn import census
from chancel.tools.hymn.running import Running, daemon_of, remove_stale
from chancel.tools.hymn.tunnel import Tunnel

if TYPE_CHECKING:
    from chancel.daemon.config_liturgy import LiturgyConfig
    from chancel.daemon.config_types import TunnelConfig
    from chancel.daemon.job import Job

END_LIMIT_S = 10.0
"""How long a daemon that got a signal may take to end."""


class Start(NamedTuple):
    """A group to start, and the program for it."""

    job: Job
    program: str

    def become(self) -> None:
        """Be that program. Never returns; raises OSError."""
        self.job.start(self.program)

    def beside(self) -> int:
        """Start it in another process; the exit status, 0 once the tunnel is there.

        It says on standard error what is wrong.
        """
        sys.stdout.flush()  # or both would write it
        starting = os.fork()
        if starting == 0:
            try:
                self.become()
            except OSError as error:
                os.write(2, f"chancel: {error}\n".encode())
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(starting, 0)[1])


def prepare(path: Path, runtime: Path) -> Start:
    """The group that carries one file's tunnel, liturgy or cathedral; nothing is made yet.

    As root a tunnel is this machine's; without root it has a network of its own. Raises
    :class:`ConfigError` for a file that can't be used.
    """
    from chancel.cathedrald import config as cathedral_config  # these two load half of a daemon,
    from chancel.daemon.job import Job  # which a command that starts nothing doesn't need

    if cathedral_config.is_cathedral(path):
        places.check_runtime_dir(runtime, [cathedral_config.load(path).instance])
        return Start(Job((path,), runtime, detached=True, syslog=True), "chancel.cathedrald")
    own_network = not places.is_machine_root()
    loaded: TunnelConfig | LiturgyConfig
    if config_liturgy.is_liturgy(path):
        loaded = config_liturgy.load(path)
        config_liturgy.check_users(loaded)
    else:
        loaded = config.load(path)
        config.check([loaded])
    if own_network:
        loaded.check_cell()
    places.check_runtime_dir(runtime, [loaded.instance])
    job = Job((path,), runtime, detached=True, syslog=True, own_network=own_network)
    return Start(job, "chancel.daemon")


def locate(tunnel: Tunnel, runtime: Path) -> ctl.Group | Running | None:
    """Who runs a tunnel: a group of ours, another daemon, or nobody.

    No other tunnel is asked. Raises :class:`LinkClosed` for a group that takes no notice.
    """
    try:
        return group_of(tunnel.instance, runtime)
    except LinkClosed as closed:
        daemon = daemon_of(tunnel.pidfile)
        if daemon is None and census.is_stopped(closed):
            raise
        return daemon


def group_of(instance: str, runtime: Path) -> ctl.Group:
    """The group of ours with that tunnel or cathedral; raises :class:`LinkClosed` for none."""
    with contextlib.suppress(FileNotFoundError):
        places.check_dir(runtime)
    return census.status(places.control_socket(runtime, instance))


def stop(tunnel: Tunnel, found: ctl.Group | Running) -> None:
    """End a tunnel that was found; returns when it is gone.

    Raises :class:`LinkClosed` when it doesn't end, :class:`LocalProtocolError` while it starts.
    """
    if isinstance(found, ctl.Group):
        stop_ours(found, tunnel.instance)
    else:
        _end(tunnel, found)


def stop_ours(group: ctl.Group, instance: str) -> None:
    """Take a tunnel out of its group, which ends with its last one, or with its liturgy.

    A liturgy refuses to lose one of its own: raises :class:`LocalProtocolError`.
    """
    liturgies = [each["instance"] for each in group.liturgies]
    if instance not in liturgies and (liturgies or len(group.answer["tunnels"]) > 1):
        ctl.remove(group.socket, instance)
    else:
        ctl.stop(group.socket)


def forget_crashed(tunnel: Tunnel) -> None:
    """Take away the pid file of a tunnel that nobody runs."""
    if tunnel.pidfile is not None:
        remove_stale(tunnel.pidfile)


def _end(tunnel: Tunnel, daemon: Running) -> None:
    if daemon.pid is None:
        raise LocalProtocolError(f"{tunnel.title} is starting (expected one that is up)")
    try:
        process = os.pidfd_open(daemon.pid)
    except ProcessLookupError:
        return
    try:
        if daemon_of(tunnel.pidfile) != daemon:
            return  # it ended by itself: the process that we hold may be a stranger
        signal.pidfd_send_signal(process, signal.SIGQUIT)
        if not select.select([process], [], [], END_LIMIT_S)[0]:
            raise LinkClosed(f"{tunnel.title} did not end within {END_LIMIT_S:.0f} seconds")
    finally:
        os.close(process)

"""A host of the lab with daemons that resolve names and carry messages, and an ordinary user on it.

``python -m tests.e2e.machine hold FOLDER`` makes it in the host where it runs: a mount namespace
with a ``/run`` of its own, a name service cache and a bus in there, and a user namespace whose user
is 1000 and has no right. It prints the process in that namespace. ``... as PID COMMAND`` is a
command of that user.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from chancel.daemon import linux, namespaces
from tests.e2e.ends import UP_LIMIT_S, eventually

UID = 1000
NAME_SERVER = "192.168.201.2"
"""Of the machine: the other host, so that a question to it is seen on the wire."""

BUS = Path("/run/dbus/system_bus_socket")
CACHE = Path("/run/nscd/socket")

_BUS_CONFIGURATION = f"""<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={BUS}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow send_destination="*"/></policy></busconfig>
"""
_CACHE_CONFIGURATION = """enable-cache hosts yes
positive-time-to-live hosts 600
negative-time-to-live hosts 1
"""


def hold(folder: Path) -> NoReturn:
    """Be the machine until killed; everything ends with this process."""
    linux.unshare(namespaces.CLONE_NEWNS)
    linux.mount("none", Path("/"), "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", Path("/run"), "tmpfs", 0, "mode=0755")
    for path in (BUS, CACHE):
        path.parent.mkdir(parents=True)
    resolv, bus, cache = (folder / name for name in ("resolv", "bus.xml", "nscd"))
    resolv.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    bus.write_text(_BUS_CONFIGURATION)
    cache.write_text(_CACHE_CONFIGURATION)
    linux.mount(str(resolv), Path("/etc/resolv.conf"), "", linux.MS_BIND)
    daemons = [
        ["dbus-daemon", f"--config-file={bus}", "--nofork", "--nopidfile"],
        ["nscd", "-F", "-f", str(cache)],
    ]
    for daemon in daemons:
        subprocess.Popen(daemon, preexec_fn=_die_with_us)  # noqa: PLW1509 - no threads here
    eventually(lambda: BUS.is_socket() and CACHE.is_socket(), UP_LIMIT_S, "the daemons listen")
    _found_user()
    print(os.getpid(), flush=True)
    signal.pause()
    raise SystemExit(0)


def _die_with_us() -> None:
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)


def _found_user() -> None:
    outside = os.geteuid(), os.getegid()
    linux.unshare(namespaces.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    for file, number in zip(("uid_map", "gid_map"), outside, strict=True):
        Path("/proc/self", file).write_text(f"{UID} {number} 1")


def become(pid: str, command: list[str]) -> NoReturn:
    """Run a command as that user."""
    kinds = {"mnt": namespaces.CLONE_NEWNS, "user": namespaces.CLONE_NEWUSER}
    fds = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}
    here = Path.cwd()
    for kind, flag in kinds.items():
        linux.setns(fds[kind], flag)
    os.chdir(here)
    linux.keep_capabilities()
    os.execvp(command[0], command)


def answers(path: str) -> str:
    """What connecting to a unix socket comes to: ``"yes"``, or the error."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError as error:
            return type(error).__name__
    return "yes"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["hold", folder]:
            hold(Path(folder))
        case ["as", pid, *command]:
            become(pid, command)

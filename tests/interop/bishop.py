"""A reference daemon whose ``/etc/hymn``, ``/run/hymn``, ``/tmp`` and ``/dev/log`` are its own.

``python -m tests.interop.bishop FOLDER SANCTUM -c FILE`` becomes it: the bishop of a liturgy writes
configurations there and has ``hymn`` start them, which it finds in ``PATH``. Their daemons end
where nobody takes their log, so it is taken here, and written to standard output. ``FOLDER`` stays
where it is, wherever that is.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from chancel.daemon import linux, namespaces

_PRIVATE = ("/etc/hymn", "/run/hymn", "/tmp")
_LOG = Path("/dev/log")


def main(folder: str, sanctum: str, *arguments: str) -> None:
    """Never returns. Raises OSError."""
    linux.unshare(namespaces.CLONE_NEWNS)
    linux.mount("none", Path("/"), "", linux.MS_REC | linux.MS_PRIVATE)
    kept = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    for place in map(Path, _PRIVATE):
        place.mkdir(exist_ok=True)
        linux.mount("tmpfs", place, "tmpfs", 0, "mode=0755")
    Path(folder).mkdir(parents=True, exist_ok=True)
    if not os.path.samestat(os.fstat(kept), Path(folder).stat()):
        linux.mount(f"/proc/self/fd/{kept}", Path(folder), "", linux.MS_BIND)
    _make_devices()
    _take_log()
    program = Path(sanctum).absolute()
    tools = f"{program.parent}:{program.parent / 'tools/hymn'}"
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    os.environ["HYMN_USER"] = "root"
    os.execv(program, [str(program), *arguments])


def _make_devices() -> None:
    """The machine's own, in a directory in which a socket can be made."""
    fresh = Path("/mnt")
    linux.mount("tmpfs", fresh, "tmpfs", 0, "mode=0755")
    for device in Path("/dev").iterdir():
        place = fresh / device.name
        if device.is_symlink():
            place.symlink_to(device.readlink())
        elif device.is_dir():
            place.mkdir()
            linux.mount(str(device), place, "", linux.MS_BIND | linux.MS_REC)
        elif device != _LOG:
            place.touch()
            linux.mount(str(device), place, "", linux.MS_BIND)
    linux.mount(str(fresh), Path("/dev"), "", linux.MS_BIND | linux.MS_REC)


def _take_log() -> None:
    """In a process of its own, which ends with the daemon."""
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(_LOG))
    if os.fork():
        log.close()
        return
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        os.write(1, log.recv(4096) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A machine with an ``/etc/hymn`` and a ``/run/hymn`` of its own, for tools that know no others.

``python -m tests.interop.hymnals`` is that machine while its standard input is open: a mount
namespace with a copy of ``/etc``, an empty ``/run`` and ``/tmp``, and a network namespace.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from chancel.daemon import linux, namespaces

TIMEOUT_S = 60
USER = "nobody"

_KINDS = {"mnt": namespaces.CLONE_NEWNS, "net": linux.CLONE_NEWNET}


class Machine:
    """Runs commands there. ``path`` stands in front of ``PATH``."""

    def __init__(self, holder: subprocess.Popen[bytes], path: Path) -> None:
        self._fds = {
            kind: os.open(f"/proc/{holder.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            for kind in _KINDS
        }
        self._path = path

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its output is text."""
        environment = os.environ | {
            "HYMN_USER": USER,
            "PATH": f"{self._path}:{os.environ['PATH']}",
        }
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env=environment,
            preexec_fn=self._enter,
            **options,
        )

    def shell(self, script: str) -> str:
        """Run a script that succeeds; what it printed."""
        done = self.run("sh", "-euc", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Forget it."""
        for fd in self._fds.values():
            os.close(fd)

    def _enter(self) -> None:
        os.setsid()
        for kind, flag in _KINDS.items():
            linux.setns(self._fds[kind], flag)
        os.chdir("/")


@contextmanager
def machine(path: Path) -> Iterator[Machine]:
    """Lend a machine; whatever still runs there when it is given back is killed."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        lent = Machine(holder, path)
        try:
            yield lent
        finally:
            for pid in _inhabitants(holder.pid):
                os.kill(pid, signal.SIGKILL)
            lent.close()
            holder.communicate(timeout=TIMEOUT_S)


def _inhabitants(holder: int) -> list[int]:
    """Processes that were started there."""
    home = Path(f"/proc/{holder}/ns/mnt").readlink()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/mnt").readlink() == home and int(process.name) != holder:
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


def _hold() -> None:
    linux.unshare(namespaces.CLONE_NEWNS | linux.CLONE_NEWNET)
    linux.mount("none", Path("/"), "", linux.MS_REC | linux.MS_PRIVATE)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "etc"
        shutil.copytree("/etc", copy, symlinks=True, ignore_dangling_symlinks=True)
        linux.mount("tmpfs", Path("/mnt"), "tmpfs", 0, "mode=0755")
        shutil.copytree(copy, "/mnt/etc", symlinks=True)
        linux.mount("/mnt/etc", Path("/etc"), "", linux.MS_BIND)
    for place, mode in (("/run", "0755"), ("/tmp", "1777")):
        linux.mount("tmpfs", Path(place), "tmpfs", 0, f"mode={mode}")
    shutil.rmtree("/etc/hymn", ignore_errors=True)
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _hold()

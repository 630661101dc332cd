"""Real servers from Debian's packages, as processes of an unprivileged user on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_START_S = 30.0
_NOBODY = 65534


def find(program: str, package: str) -> str:
    """Where a server is; without it the test is skipped."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"needs {program}: apt-get install {package}")
    return path


def free_port() -> int:
    """A TCP port that nobody listens on, a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Callable[[Path], list[str | Path]], port: int) -> Iterator[None]:
    """Run a server, with a folder of its own, until the block ends. It listens when it begins."""
    as_nobody = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if as_nobody:
            os.chown(folder, _NOBODY, _NOBODY)
        server = subprocess.Popen(
            command(folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            user=_NOBODY if as_nobody else None,
            group=_NOBODY if as_nobody else None,
            extra_groups=[] if as_nobody else None,
        )
        try:
            _wait_for(server, port)
            yield
        finally:
            server.terminate()
            server.communicate()


def _wait_for(server: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        if server.poll() is not None:
            raise AssertionError(f"{server.args!r} ended: {server.communicate()[1]}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, f"{server.args!r} doesn't answer"
            time.sleep(0.02)
        else:
            return

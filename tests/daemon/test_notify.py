"""What the service manager is told, and that nobody else has to be there to hear it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from chancel.daemon.notify import READY, notify


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_a_listener_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/n"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(10)
        notify(READY)
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("name", ["", "/nobody/is/here", "vsock:2:1234"])
def test_nobody_has_to_listen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify(READY)

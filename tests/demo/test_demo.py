"""The whole demonstration, with the real daemon, a little faster than for people."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from chancel.demo import DemoError, story
from chancel.demo.parish import Device, Seat
from chancel.demo.story import Pace
from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError


@pytest.fixture(autouse=True)
def _needs_the_lab() -> None:
    try:
        Lab().close()
    except LabError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(600)
def test_it_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story.run(tmp_path, Pace(transfer=30.0, direct=1.0, one_left=1.0, none_left=1.0))
    ElementTree.parse(tmp_path / "demo.svg")
    told = capsys.readouterr().out
    for words in (
        "tunnel up",
        "peer to peer",
        "east killed",
        "west killed: none is left",
        "new keys, without a cathedral",
        "west back, with new ambries",
        "new secret, generation [0-9a-f]+",
        "every byte arrived",
    ):
        assert re.search(rf"\d s  {words}", told), told
    assert "keys: hybrid ML-KEM-1024 + X25519" in told
    assert f"picture: {tmp_path / 'demo.svg'}" in told


def test_a_daemon_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(seat: Seat, _command: Sequence[str]) -> subprocess.Popen[bytes]:
        code = "import sys; print('out of incense'); sys.exit(3)"
        with seat.log.open("ab") as log:
            return seat.host.popen([sys.executable, "-c", code], stdout=log)

    monkeypatch.setattr(Device, "start", start)
    with pytest.raises(DemoError, match=r"the daemon on \w+ ended \(3\); .*: out of incense"):
        story.run(tmp_path)
    assert not list(tmp_path.iterdir())

"""The page about hymn, typed as it stands: every command works, and prints what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from chancel.cli.main import main
from chancel.daemon import places
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs/hymn.md"
STARTS = {"up", "restart"}
"""They need root, or a network of their own, and are tested elsewhere."""


def test_the_page_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "is_machine_root", lambda: False)
    monkeypatch.setenv("CHANCEL_CONFIG_DIR", str(tmp_path / "etc"))
    monkeypatch.setenv("CHANCEL_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "etc").mkdir()
    shown, added, made = "", "", 0
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        if language == "text":
            there = added if block.startswith("#") else shown
            assert block == there
            continue
        for line in block.splitlines():
            words = shlex.split(line.replace("/etc/hymn", str(tmp_path / "etc")))
            words = words[words.index("chancel") + 1 :] if "chancel" in words else []
            if words[:1] != ["hymn"] or words[1] in STARTS:
                continue
            assert main(words) == 0, (line, capsys.readouterr().err)
            shown = capsys.readouterr().out
            made += 1
            if words[1:3] == ["add", "1-2"]:
                text = (tmp_path / "etc/hymn-01-02.conf").read_text()
                owner = re.search(r"^control \S+ (\S+)$", text, re.M)
                assert owner is not None
                added = (
                    text.replace(str(tmp_path / "etc"), "/etc/hymn")
                    .replace(f"{tmp_path}/run/hymn-01-02.pid", "/var/run/hymn/hymn-01-02.pid")
                    .replace(
                        f"{tmp_path}/run/hymn-01-02.control {owner[1]}",
                        "/tmp/hymn-01-02.control root",
                    )
                )
    assert made == 22

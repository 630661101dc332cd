"""What the pages tell people to type works: Python runs, configurations parse, commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.cli.main import COMMANDS
from chancel.daemon import config, config_liturgy
from chancel.daemon.config_types import PROCESSES
from chancel.links import addresses
from tests.docs.markdown import ROOT, Block, blocks, pages

NOT_OURS = {
    "/opt/chancel/bin/pip",
    "apt-get",
    "cd",
    "chown",
    "curl",
    "git",
    "install",
    "ip",
    "journalctl",
    "kill",
    "ln",
    "mkdir",
    "mv",
    "ping",
    "pip",
    "python3",
    "rm",
    "scp",
    "sysctl",
    "systemctl",
    "useradd",
    "userdel",
}

KEY_FILES = re.compile(r"^((?:secret|kek|cathedral_secret|cathedral_cosk)\s+)(.*)$", re.MULTILINE)
"""Directives whose files have to be there."""
WRITTEN = re.compile(r"^(cathedral_remembrance\s+)(.*)$", re.MULTILINE)
"""Those whose directory has to be."""


@pytest.mark.parametrize("page", pages("python"), ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, each block as if it stood below those before it on its page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(addresses, "_schemes", {})  # what a page registers ends with it
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks("python"):
        if block.page == page:
            lines = "\n" * (block.line - 1) + block.text
            exec(compile(lines, str(block.page), "exec", dont_inherit=True), names)


@pytest.mark.parametrize("block", blocks("conf"), ids=str)
def test_configuration_is_accepted(block: Block, tmp_path: Path) -> None:
    for _directive, path in KEY_FILES.findall(block.text):
        here = tmp_path / Path(path).name
        here.write_bytes(bytes(64))
        here.chmod(0o600)

    def moved(line: re.Match[str]) -> str:
        return f"{line[1]}{tmp_path / Path(line[2]).name}"

    text = WRITTEN.sub(moved, KEY_FILES.sub(moved, block.text))
    if text.startswith("mode liturgy"):
        assert config_liturgy.parse(text, str(block)).instance
        return
    accepted = config.parse(text, str(block))
    config.check_group([accepted])
    assert set(accepted.run_as) == set(PROCESSES[accepted.mode])


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_commands_exist(block: Block) -> None:
    for line in block.text.splitlines():
        words = shlex.split(line)
        if words[0] == "sudo":
            words = words[1:]
        match words[0]:
            case "python":
                assert (block.page.parent / words[1]).is_file(), f"{block}: no {words[1]}"
            case "make":
                _check_target(words[1])
            case ".venv/bin/chancel" | "chancel" if words[1].startswith("-"):
                pass
            case ".venv/bin/chancel" | "chancel":
                _check_subcommand(words[1:])
            case other:
                assert other in NOT_OURS, f"{block}: what is {other!r}?"


def _check_target(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make has no {target}"


def _check_subcommand(words: list[str]) -> None:
    """The command, or the one of a group, knows its name and every option it is given."""
    name = words[:2] if len(COMMANDS[words[0]].functions) > 1 else words[:1]
    command = [sys.executable, "-m", "chancel.cli.main", *name, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = [word for word in words[1:] if word.startswith("-")]
    assert [option for option in options if option not in shown] == []

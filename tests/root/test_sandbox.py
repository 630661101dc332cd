"""Sealed processes that are real users of the machine: what each tries, and what comes of it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

import pytest

from chancel.daemon import config, guardian, places
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.sandbox_mode import Sandbox
from tests.daemon.attempts import KILLED, REFUSED, Attempt, Probe
from tests.daemon.running import alive, print_to
from tests.daemon.test_guardian import MAKERS
from tests.root.test_host import distinct_users

pytestmark = pytest.mark.skipif(not places.is_machine_root(), reason="needs root: make test-root")

DATA = [duty for duty in PROCESSES[Mode.TUNNEL] if duty != "control"]
NAME = "chancel-t1"


def configuration(folder: Path) -> str:
    users = distinct_users()
    secret = folder / "key"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_bytes(secrets.token_bytes(32))
        shutil.chown(secret, users["chapel"])
    lines = [f"instance {NAME}", f"secret {secret}", "tunnel 198.19.78.1/30 1400"]
    lines += ["local 127.0.0.1:2378"]
    return "\n".join(lines + [f"run {duty} as {user}" for duty, user in users.items()])


def run(folder: Path, duty: str, attempts: dict[str, Attempt]) -> tuple[int, str]:
    """A group in which one process tries that, and then asks to end; its status and its log."""
    output = folder / "output"
    output.unlink(missing_ok=True)

    def make(process: object) -> Probe:
        return Probe(process, attempts)  # type: ignore[arg-type]

    pid = os.fork()
    if pid == 0:
        status = 77
        try:
            print_to(output)
            parsed = [config.parse(configuration(folder), "1.conf")]
            stop = lambda: os.kill(os.getpid(), 15)  # noqa: E731
            makers = MAKERS | {duty: make}
            status = guardian.serve(parsed, folder / "run", makers, stop, Sandbox.ON)
        except Exception as error:  # noqa: BLE001 - the test reads it
            print(f"ENDED {error}", flush=True)
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    log = output.read_text()
    started = [int(number) for number in re.findall(r"started \S+ \(pid=(\d+)\)", log)]
    assert len(started) == len(PROCESSES[Mode.TUNNEL])
    assert not any(map(alive, started))
    return os.waitstatus_to_exitcode(status), log


@pytest.fixture
def place(folder: Path) -> Path:
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.mark.parametrize("duty", DATA)
def test_what_is_answered_with_an_error(place: Path, duty: str) -> None:
    status, log = run(place, duty, {name: attempt for name, (attempt, _) in REFUSED.items()})
    assert status == 0, log
    for name, (_, kind) in REFUSED.items():
        assert f"PROBE {duty} {name}: {kind.__name__}" in log


@pytest.mark.parametrize(
    ("duty", "name"), [(DATA[i % len(DATA)], name) for i, name in enumerate(KILLED)]
)
def test_what_kills_ends_the_group(place: Path, duty: str, name: str) -> None:
    status, log = run(place, duty, {name: KILLED[name]})
    assert status == 1
    assert f"ENDED {duty} exited (signal 31: a system call outside of its list)" in log
    assert "PROBE" not in log

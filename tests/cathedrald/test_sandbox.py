"""What a cathedral that was taken over can't do: real processes, real filters, real deaths."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chancel.cathedrald import guardian
from chancel.cathedrald.guardian import TOPOLOGY
from chancel.cathedrald.news import CathedralSettings
from chancel.daemon import linux, sandbox, sandbox_filter
from chancel.daemon.group import GroupBroken
from chancel.daemon.process import Process
from chancel.daemon.sandbox import Plan
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.topology import Wiring
from tests.cathedrald.parish import FLOCK, LOCAL, SETTINGS, Client, Parish, traffic
from tests.cathedrald.running import DUTIES, RunningCathedral
from tests.daemon.attempts import KILLED, REFUSED, Attempt, Probe
from tests.daemon.network import InNetwork
from tests.daemon.running import print_to


def probe(attempts: dict[str, Attempt]) -> Callable[[Process], Probe]:
    def make(process: Process) -> Probe:
        process.read_settings = CathedralSettings.from_json
        return Probe(process, attempts)

    return make


def test_what_is_answered_with_an_error(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        attempts = {name: attempt for name, (attempt, _) in REFUSED.items()}
        attempts |= {
            "its own settings": lambda _: os.open(parish.settings, os.O_RDONLY),
            "the sync secret": lambda _: os.open(parish.sync, os.O_RDONLY),
            "a key": lambda _: os.open(parish.key(), os.O_RDONLY),
            "elsewhere": lambda _: os.open(__file__, os.O_RDONLY),
        }
        makers = DUTIES | {"cathedral": probe(attempts)}
        running = RunningCathedral(parish.config(), parish.folder, makers)
        for name, (_, kind) in REFUSED.items():
            assert f"PROBE cathedral {name}: {kind.__name__}" in running.log()
        for name in ("its own settings", "the sync secret", "a key"):
            assert f"PROBE cathedral {name}: done" in running.log()
        assert "PROBE cathedral elsewhere: PermissionError" in running.log()
        assert running.stop() == 0

    in_network(test)


@pytest.mark.parametrize("name", KILLED)
def test_what_kills_ends_the_group_with_the_reason(
    in_network: InNetwork, parish: Parish, name: str
) -> None:
    def test() -> None:
        print_to(parish.folder / "output")
        makers = DUTIES | {"cathedral": probe({name: KILLED[name]})}
        reason = r"cathedral exited \(signal 31: a system call outside of its list\)"
        with pytest.raises(GroupBroken, match=reason):
            guardian.serve(parish.config(), parish.folder, makers)
        assert "PROBE" not in (parish.folder / "output").read_text()

    in_network(test)


def in_a_sealed_process(action: Callable[[Wiring], object]) -> int:
    """Run something with the cathedral's filter; see ``tests.daemon.test_sandbox``."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            wiring = Wiring.make(TOPOLOGY)
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            program = sandbox_filter.for_duty("cathedral", wiring.ends("cathedral"))
            sandbox.seal("cathedral", program, Plan(Sandbox.ON, 0, ()), os.close)
            action(wiring)
            status = 0
        except PermissionError:
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 2),
        (lambda _: os.open("/etc/passwd", os.O_RDONLY), 0),  # Landlock closes it, not the filter
        (lambda _: os.open("/tmp/no-such", os.O_WRONLY | os.O_CREAT), -signal.SIGSYS),
        (lambda _: os.open("/etc/passwd", os.O_RDWR), -signal.SIGSYS),
        (lambda wiring: wiring.guardian_links["cathedral"][1].send(b"x"), 0),
        (lambda wiring: wiring.guardian_links["control"][1].send(b"x"), -signal.SIGSYS),
    ],
)
def test_files_are_read_and_descriptors_are_pinned(
    action: Callable[[Wiring], object], outcome: int
) -> None:
    assert in_a_sealed_process(action) == outcome


class Told:
    """Audit events of the kinds that touch anything outside of the process."""

    WATCHED = ("import", "os.", "socket.", "subprocess.", "ctypes.dlopen", "shutil.")
    HARMLESS = ("socket.__new__", "socket.sendto", "socket.sendmsg", "socket.getsockname")

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """To be given to ``sys.addaudithook``."""
        if event.startswith(self.WATCHED) and event not in self.HARMLESS:
            print(f"AUDIT {event} {arguments!r}"[:200], flush=True)


def test_nothing_is_imported_once_sealed(
    in_network: InNetwork, parish: Parish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With clients, traffic, settings that change, a bundle, and a person who asks for status."""
    seal = sandbox.seal

    def seal_and_listen(name: str, *arguments: Any) -> None:
        seal(name, *arguments)
        sys.addaudithook(Told().hook)
        if name == "cathedral":
            sys.audit("import", "heard")  # the hook hears

    def test() -> None:
        monkeypatch.setattr(sandbox, "seal", seal_and_listen)
        running = RunningCathedral(parish.config("shroud no"), parish.folder)
        one, other = Client(parish, 1, 2), Client(parish, 2, 1)
        one.register(other)
        one.socket.sendto(traffic(other), LOCAL)
        other.socket.recv(2048)
        path = parish.bundle("home.ambry", FLOCK)
        parish.settings.write_text(SETTINGS.replace("    allow", f"    ambry {path}\n    allow", 1))
        running.ask({"do": "reload"})
        running.wait_for(lambda: running.cathedral()["bundles"] != [])
        parish.settings.write_text("flok\n")
        running.ask({"do": "reload"})
        running.wait_for(lambda: running.cathedral()["settings"]["problems"] != [])
        assert running.stop() == 0
        told = {line for line in running.log().splitlines() if line.startswith("AUDIT ")}
        assert told == {"AUDIT import ('heard',)"}

    in_network(test)


def test_a_bundle_in_a_new_directory_waits_for_a_restart(
    in_network: InNetwork, parish: Parish, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def test() -> None:
        running = RunningCathedral(parish.config(), parish.folder)
        if not running.status()["group"]["landlock"]:
            pytest.fail("this kernel has no Landlock: nothing to test")
        path = Path(elsewhere, "new.ambry")
        path.write_bytes(bytes(100))
        parish.settings.write_text(SETTINGS.replace("    allow", f"    ambry {path}\n    allow", 1))
        running.ask({"do": "reload"})
        running.wait_for(lambda: running.cathedral()["bundles"] != [])
        (bundle,) = running.cathedral()["bundles"]
        assert "not in the settings when the cathedral started, restart that" in bundle["problem"]
        assert running.stop() == 0

    in_network(test)


def test_boards_and_links_are_all_that_joins_it(parish: Parish) -> None:
    assert TOPOLOGY.lanes == {}
    assert TOPOLOGY.key_links == {}
    assert TOPOLOGY.rings == {}
    assert [(spec.owner, spec.readers) for spec in TOPOLOGY.boards.values()] == [
        ("cathedral", ("control",))
    ]

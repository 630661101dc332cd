"""What sealed processes can't do: real groups, real filters, real deaths."""

from __future__ import annotations

import builtins
import ctypes.util
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import (
    cell_filter,
    config,
    guardian,
    landlock,
    linux,
    replacing,
    sandbox,
    sandbox_filter,
)
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.duties import control
from chancel.daemon.group import GroupBroken
from chancel.daemon.linux import MachineError
from chancel.daemon.sandbox import Plan
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.topology import Wiring, of
from chancel.errors import LocalProtocolError
from tests.daemon.attempts import KILLED, REFUSED, Attempt, Probe
from tests.daemon.network import InNetwork, neighbour
from tests.daemon.running import Running, eventually, print_to, text
from tests.daemon.test_carrying import LEFT, RIGHT, be_right, round_trip, tunnel
from tests.daemon.test_guardian import MAKERS

DATA = [duty for duty in PROCESSES[Mode.TUNNEL] if duty != "control"]
"""Without control no group gets anywhere; it has a test of its own."""
ARRIVED = os.pipe()[0]
"""Stands for what the guardian passes: a number below those of the wiring."""
WIRINGS = {mode: of(mode) for mode in Mode}
EVERY_DUTY = sorted({duty for topology in WIRINGS.values() for duty in topology.duties})

END_LIMIT_S = 30.0
"""Not a claim about speed: machines that run tests pause."""


def probe(attempts: dict[str, Attempt]) -> Callable[[Any], Probe]:
    return lambda process: Probe(process, attempts)


@pytest.mark.parametrize("duty", DATA)
def test_what_is_answered_with_an_error(in_network: InNetwork, tmp: Path, duty: str) -> None:

    def test() -> None:
        attempts = {name: attempt for name, (attempt, _) in REFUSED.items()}
        running = Running(tmp, text(tmp, 1), makers=MAKERS | {duty: probe(attempts)})
        for name, (_, kind) in REFUSED.items():
            assert f"PROBE {duty} {name}: {kind.__name__}" in running.log()
        assert running.stop() == 0

    in_network(test)


@pytest.mark.parametrize(
    ("duty", "name"), [(DATA[i % len(DATA)], name) for i, name in enumerate(KILLED)]
)
def test_what_kills_ends_the_group_with_the_reason(
    in_network: InNetwork, tmp: Path, duty: str, name: str
) -> None:
    def test() -> None:
        parsed = [config.parse(text(tmp, 1), "1.conf")]
        print_to(tmp / "output")
        makers = MAKERS | {duty: probe({name: KILLED[name]})}
        with pytest.raises(GroupBroken, match="signal 31") as broken:
            guardian.serve(parsed, tmp, makers)
        assert str(broken.value) == f"{duty} exited (signal 31: a system call outside of its list)"
        assert "PROBE" not in (tmp / "output").read_text()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    in_network(test)


def in_a_sealed_process(duty: str, action: Callable[[Wiring], object]) -> int:
    """Run something with the filter of a duty, in a process of its own.

    Returns 0, 2 if it was answered EPERM, 1 for other errors, or minus the signal that killed it.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            wiring = Wiring.make(next(each for each in WIRINGS.values() if duty in each.duties))
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            plan = Plan(Sandbox.ON, 0, ())
            program = sandbox_filter.for_duty(duty, wiring.ends(duty))
            sandbox.seal(duty, program, plan, os.close)
            action(wiring)
            status = 0
        except PermissionError:
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("duty", EVERY_DUTY)
def test_every_process_of_every_mode_dies_of_it(duty: str) -> None:
    for name, attempt in KILLED.items():
        outcome = in_a_sealed_process(duty, lambda _, attempt=attempt: attempt(1))  # type: ignore[misc]
        assert outcome == -signal.SIGSYS, name


@pytest.mark.parametrize("duty", EVERY_DUTY)
def test_no_process_of_any_mode_gets_a_socket(duty: str) -> None:
    assert in_a_sealed_process(duty, lambda _: socket.socket(socket.AF_UNIX)) == 2


def test_only_keepers_can_open_anything() -> None:
    """And they only for reading; without Landlock here, which closes the rest."""
    for duty in EVERY_DUTY:
        outcome = in_a_sealed_process(duty, lambda _: os.open("/etc/passwd", os.O_RDONLY))
        assert outcome == (0 if duty in {"chapel", "pilgrim", "shrine"} else 2), duty
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_RDONLY | os.O_TRUNC):
        opening = partial(os.open, "/tmp/no-such", flags)
        assert in_a_sealed_process("chapel", lambda _, opening=opening: opening()) == -31  # type: ignore[misc]


def replacing_in(allowed: Path, action: Callable[[], object]) -> int:
    """As :func:`in_a_sealed_process`: chapel, which may replace files in one directory."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            wiring = Wiring.make(of(Mode.TUNNEL))
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            plan = Plan(Sandbox.ON, landlock.abi(), (), (str(allowed),))
            program = sandbox_filter.for_duty("chapel", wiring.ends("chapel"), replaces_files=True)
            sandbox.seal("chapel", program, plan, os.close)
            action()
            status = 0
        except PermissionError:
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_keeper_with_ambries_replaces_files(tmp: Path) -> None:
    """Reading back what it wrote, and what somebody else put there meanwhile."""
    path = str(tmp.resolve() / "file")

    def replace() -> None:
        for content in (b"one", b"other"):
            replacing.replace(path, content)
            assert replacing.read(path, 192) == content

    assert replacing_in(tmp.resolve(), replace) == 0
    assert Path(path).read_bytes() == b"other"


@pytest.mark.skipif(not landlock.abi(), reason="needs a kernel with Landlock (5.13)")
def test_and_only_in_their_directory(tmp: Path) -> None:
    allowed, closed = tmp.resolve() / "allowed", tmp.resolve() / "closed"
    allowed.mkdir()
    closed.mkdir()
    for directory in (allowed, closed):
        (directory / "file").write_bytes(b"content")
    assert replacing_in(allowed, lambda: replacing.replace(str(closed / "file"), b"x")) == 2
    assert replacing_in(allowed, (closed / "file").unlink) == 2
    assert replacing_in(allowed, lambda: (allowed / "file").rename(closed / "moved")) in (1, 2)
    assert replacing_in(allowed, lambda: replacing.read(str(closed / "file"), 9)) == 2
    assert (closed / "file").read_bytes() == b"content"
    assert sorted(each.name for each in closed.iterdir()) == ["file"]


@pytest.mark.parametrize(
    "flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT]
)
def test_what_exists_is_never_opened_for_writing(tmp: Path, flags: int) -> None:
    path = tmp.resolve() / "file"
    path.write_bytes(b"content")
    assert replacing_in(tmp.resolve(), lambda: os.open(path, flags)) == -signal.SIGSYS
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("duty", EVERY_DUTY)
def test_others_replace_nothing(tmp: Path, duty: str) -> None:
    path = tmp.resolve() / "file"
    path.write_bytes(b"content")
    for action in (path.unlink, lambda: path.rename(f"{path}.moved")):
        assert in_a_sealed_process(duty, lambda _, action=action: action()) == 2  # type: ignore[misc]
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (lambda wiring: os.read(wiring.bells["bless"].fileno(), 8), 1),  # allowed: nobody rang
        (lambda wiring: os.read(wiring.bells["confess"].fileno(), 8), -signal.SIGSYS),
        (lambda _: os.read(ARRIVED, 8), -signal.SIGSYS),
        (lambda wiring: os.write(wiring.bells["heaven-rx"].fileno(), bytes(8)), 0),
        (lambda wiring: os.write(wiring.bells["bless"].fileno(), bytes(8)), -signal.SIGSYS),
        (lambda _: os.write(1, b""), 0),
        (lambda _: os.write(0, b""), -signal.SIGSYS),
        (lambda _: os.close(ARRIVED), 0),
        (lambda wiring: os.close(wiring.bells["bless"].fileno()), -signal.SIGSYS),
        (lambda wiring: wiring.lanes["purgatory"].writer.send(b"x"), 0),
        (lambda wiring: wiring.lanes["heaven"].writer.send(b"x"), -signal.SIGSYS),
        (lambda wiring: wiring.key_links["send-keys"][1].send(b"x"), -signal.SIGSYS),
        (lambda wiring: wiring.guardian_links["bless"][1].send(b"x"), 0),
        (lambda wiring: wiring.guardian_links["chapel"][1].send(b"x"), -signal.SIGSYS),
    ],
)
def test_descriptors_are_pinned(action: Callable[[Wiring], object], outcome: int) -> None:
    """bless: each call on the descriptors that the table names, and on no other."""
    assert in_a_sealed_process("bless", action) == outcome


def test_a_descriptor_with_an_upper_half_is_none() -> None:
    """The kernel looks at 32 bits of a descriptor, filters at 64: those must not differ."""
    libc = ctypes.CDLL(None)
    readv = 19 if os.uname().machine == "x86_64" else 65
    for upper, outcome in ((0, 0), (1 << 32, -signal.SIGSYS)):
        arguments = [ctypes.c_long(each) for each in (readv, ARRIVED | upper, 0, 0)]
        call = partial(libc.syscall, *arguments)
        assert in_a_sealed_process("heaven-rx", lambda _, call=call: call()) == outcome  # type: ignore[misc]


class Told(list[str]):
    """Audit events of the kinds that touch anything outside of the process."""

    WATCHED = ("open", "import", "os.", "socket.", "subprocess.", "ctypes.dlopen", "shutil.")
    HARMLESS = ("socket.__new__", "socket.sendto", "socket.sendmsg", "socket.getsockname")
    """An object around a descriptor that was passed, and its use."""

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """To be given to ``sys.addaudithook``."""
        if event.startswith(self.WATCHED) and event not in self.HARMLESS:
            print(f"AUDIT {event} {arguments!r}"[:200], flush=True)


def test_nothing_is_imported_or_opened_once_sealed(
    in_network: InNetwork, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key exchange, traffic, tunnels that come and go, and a person who asks for status."""
    seal = sandbox.seal

    def seal_and_listen(name: str, *arguments: Any) -> None:
        seal(name, *arguments)
        sys.addaudithook(Told().hook)

    def test() -> None:
        neighbour(LEFT, RIGHT, lambda: be_right(tmp, 1, 2))
        monkeypatch.setattr(sandbox, "seal", seal_and_listen)
        makers = guardian.load_duties(Mode.TUNNEL)
        running = Running(tmp, tunnel(tmp, 1, left=True), makers=makers)
        eventually(lambda: round_trip(1, b"up?"))
        running.add(tunnel(tmp, 2, left=True))
        eventually(lambda: round_trip(2, b"up?"))
        running.ask({"do": "remove", "instance": "dm2"})
        assert round_trip(1, bytes(1300), 5.0)
        assert running.stop() == 0
        told = {line for line in running.log().splitlines() if line.startswith("AUDIT ")}
        secrets = {line for line in told if line.startswith(f"AUDIT open ('{tmp}/secret', None,")}
        assert secrets  # the hook hears, and chapel reads its secret at each use
        assert told - secrets == set()

    in_network(test)


def test_log_stops_nothing_and_names_what_it_would_stop(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        attempts: dict[str, Attempt] = {
            "getppid": lambda _: os.getppid(),
            "open": lambda _: os.close(os.open("/etc/passwd", os.O_RDONLY)),
        }
        makers = MAKERS | {"confess": probe(attempts)}
        running = Running(tmp, text(tmp, 1), makers=makers, confinement=Sandbox.LOG)
        assert "PROBE confess getppid: done" in running.log()
        assert "PROBE confess open: done" in running.log()
        line = "a call outside of its list process=confess call="
        assert f"{line}getppid " in running.log()
        assert f"{line}openat " in running.log()
        outcomes = {each.rpartition("=")[2] for each in running.log().splitlines() if line in each}
        assert outcomes == {"killed", "refused"}
        group = running.ask({"do": "status"})["group"]
        assert (group["sandbox"], group["landlock"]) == ("log", 0)
        running.add(text(tmp, 2))  # the loop answers for calls as the start did
        assert running.instances() == ["dm1", "dm2"]
        assert running.stop() == 0

    in_network(test)


def test_off_is_said(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        makers = MAKERS | {"bless": probe({"fork": lambda _: os.fork() or os._exit(0)})}
        running = Running(tmp, text(tmp, 1), makers=makers, confinement=Sandbox.OFF)
        assert "no sandbox: processes keep all system calls" in running.log()
        assert "PROBE bless fork: done" in running.log()
        assert running.ask({"do": "status"})["group"]["sandbox"] == "off"
        assert running.stop() == 0

    in_network(test)


def test_status_tells_what_is_in_force(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        group = running.ask({"do": "status"})["group"]
        assert (group["sandbox"], group["landlock"]) == ("on", landlock.abi())
        assert running.stop() == 0

    in_network(test)


def test_without_libseccomp_one_line_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ctypes.util.find_library
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    monkeypatch.setattr(
        ctypes.util, "find_library", lambda name: None if name == "seccomp" else found(name)
    )
    with pytest.raises(MachineError, match=r"apt-get install libseccomp2.*--sandbox=off"):
        sandbox.programs(Plan(Sandbox.ON, 0, ()), {})
    assert sandbox.programs(Plan(Sandbox.OFF, 0, ()), {}) == {}


def test_without_pyseccomp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pyseccomp":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(MachineError, match="libseccomp is not installed"):
        sandbox.programs(Plan(Sandbox.ON, 0, ()), {})


def test_a_libseccomp_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "libseccomp.so.2"
    library.touch()
    found = ctypes.util.find_library
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    monkeypatch.setattr(
        ctypes.util, "find_library", lambda name: str(library) if name == "seccomp" else found(name)
    )
    problem = rf"libseccomp can't be loaded: {library}: file too short .*--sandbox=off"
    with pytest.raises(MachineError, match=problem):
        sandbox.programs(Plan(Sandbox.ON, 0, ()), {})
    with pytest.raises(MachineError, match=problem):
        cell_filter.program()


def test_a_tunnel_with_ambries_can_not_join_a_group_that_replaces_nothing(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        for name, size in (("own", 32), ("kek", 32), ("cs", 32), ("cosk", 64)):
            (tmp / name).write_bytes(bytes(size))
            (tmp / name).chmod(0o600)
        second = "\n".join(
            [
                text(tmp, 2).replace(f"{tmp}/secret", f"{tmp}/own"),
                "spi cafe",
                f"kek {tmp}/kek",
                "cathedral 192.0.2.9:2333",
                "cathedral_id 1",
                f"cathedral_secret {tmp}/cs",
                f"cathedral_cosk {tmp}/cosk",
                "cathedral_flock 1",
            ]
        )
        problem = f"secret: the group that runs can't replace files in {tmp.resolve()}"
        with pytest.raises(LocalProtocolError, match=problem):
            running.add(second)
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


@pytest.mark.skipif(not landlock.abi(), reason="needs a kernel with Landlock (5.13)")
def test_a_secret_elsewhere_cannot_join(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        elsewhere = tmp / "elsewhere"
        elsewhere.mkdir()
        (tmp / "secret").rename(elsewhere / "secret")
        second = text(tmp, 2).replace(f"{tmp}/secret", f"{elsewhere}/secret")
        closed = f"secret: {elsewhere.resolve()} is closed to the group that runs"
        with pytest.raises(LocalProtocolError, match=closed):
            running.add(second)
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


def test_readers_cannot_make_their_mapping_writable() -> None:
    """Neither by mprotect(2) nor by mapping again: there is no descriptor left."""
    memory = os.memfd_create("lane")
    os.ftruncate(memory, mmap.PAGESIZE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    writing = linux.map_memory(memory, mmap.PAGESIZE, writable=True)
    reading = linux.map_memory(memory, mmap.PAGESIZE, writable=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    writing[:5] = b"hello"
    assert bytes(reading[:5]) == b"hello"
    with pytest.raises(TypeError):
        reading[:5] = b"world"
    for view, allowed in ((reading, False), (writing, True)):
        address = ctypes.addressof(view.obj)  # type: ignore[arg-type]
        changed = ctypes.CDLL(None).mprotect(
            ctypes.c_void_p(address),
            ctypes.c_size_t(mmap.PAGESIZE),
            mmap.PROT_READ | mmap.PROT_WRITE,
        )
        assert (changed == 0) == allowed
    os.close(memory)


def test_mappings_go_with_their_last_view() -> None:
    memory = os.memfd_create("a-name-of-its-own")
    os.ftruncate(memory, mmap.PAGESIZE)
    view = linux.map_memory(memory, mmap.PAGESIZE, writable=True)
    piece = view[10:20]
    del view
    assert "a-name-of-its-own" in Path("/proc/self/maps").read_text()
    del piece
    assert "a-name-of-its-own" not in Path("/proc/self/maps").read_text()
    os.close(memory)


def test_the_guardian_dies_of_what_it_never_needs() -> None:
    for attempt in ("execve", "ptrace", "process_vm_readv"):
        pid = os.fork()
        if pid == 0:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            sandbox_filter.load(sandbox_filter.for_guardian())
            os.close(os.open("/etc/passwd", os.O_RDONLY))  # it still opens files and sockets
            socket.socket().close()
            KILLED[attempt](os.getppid())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSYS, attempt


def test_a_process_that_is_killed_takes_the_group_along(in_network: InNetwork, tmp: Path) -> None:
    """Late, while it serves: a second tunnel makes it try."""

    class Later(Probe):
        def add(self, tunnel: int, settings: Any, fds: list[int]) -> None:
            if tunnel:
                super().add(tunnel, settings, fds)

    def test() -> None:
        later = {"bless": lambda process: Later(process, {"execve": KILLED["execve"]})}
        running = Running(tmp, text(tmp, 1), makers=MAKERS | later)
        pid = os.fork()
        if pid == 0:
            try:
                running.add(text(tmp, 2))
            finally:
                os._exit(0)
        began = time.monotonic()
        assert running.wait() == 1
        assert time.monotonic() - began < END_LIMIT_S
        assert "bless exited (signal 31: a system call outside of its list)" in running.log()

    in_network(test)


def test_control_has_its_own_list(in_network: InNetwork, tmp: Path) -> None:
    """The real one answers through its filter; its probe twin is refused what all are."""

    def test() -> None:
        class Nosy(Probe):
            def __init__(self, process: Any) -> None:
                super().__init__(process, {name: each for name, (each, _) in REFUSED.items()})
                self._control = control.make(process)

            def add(self, tunnel: int, settings: Any, fds: list[int]) -> None:
                super().add(tunnel, settings, [])
                self._control.add(tunnel, settings, fds)

            def wake_at(self) -> float | None:
                return self._control.wake_at()

            def wake(self, now: float) -> None:
                self._control.wake(now)

        running = Running(tmp, text(tmp, 1), makers=MAKERS | {"control": Nosy})
        for name, (_, kind) in REFUSED.items():
            assert f"PROBE control {name}: {kind.__name__}" in running.log()
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)

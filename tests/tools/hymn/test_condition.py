"""How a tunnel is: pid files of either daemon and of none, and answers on the status socket."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.config_types import ControlSocket
from chancel.errors import LinkClosed
from chancel.tools.hymn import census, hymnal, listing, report, service
from chancel.tools.hymn.condition import Condition, Conditions, State
from chancel.tools.hymn.figures import Figures, ask
from chancel.tools.hymn.running import STARTING_S, Running, daemon_of, remove_stale
from chancel.tools.hymn.tunnel import Tunnel
from chancel.wire.types import Address
from tests.tools.hymn.answering import answering, datagram, locked, named_as_the_reference
from tests.tools.hymn.pages import CATHEDRAL, LITURGY, PLAIN

EXAMPLE = bytes.fromhex(
    "7cf76d3c00000000a1070000000000001a00000000000000c107000000000000a80c000000000000"
    "05a1213a00000000a1070000000000001600000000000000c107000000000000a800000000000000"
    "c0a8c902091d8e05"
)
"""Recorded (daemon section 4), on a little-endian machine."""


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "run" / "office.pid"


@pytest.fixture
def tunnel(tmp_path: Path, pidfile: Path) -> Tunnel:
    pidfile.parent.mkdir(mode=0o700)
    return written(tmp_path, PLAIN)


def written(folder: Path, text: str, stem: str = "hymn-01-02") -> Tunnel:
    path = folder / f"{stem}.conf"
    lines = [
        f"pidfile {folder}/run/office.pid"
        if line.startswith("pidfile ")
        else f"control {folder}/run/control root"
        if line.startswith("control ")
        else line
        for line in text.split("\n")
    ]
    path.write_text("\n".join(lines))
    return hymnal.load(path)


def look(tunnel: Tunnel) -> Condition:
    return Conditions(census.take(tunnel.path.parent / "run")).of(tunnel)


def listed(tunnel: Tunnel) -> list[str]:
    return list(listing.lines([tunnel], look))


class TestPidFiles:
    def test_none(self, tunnel: Tunnel, pidfile: Path) -> None:
        assert daemon_of(pidfile) is daemon_of(None) is None
        assert look(tunnel) == Condition(State.DOWN)

    def test_ours(self, tunnel: Tunnel, pidfile: Path) -> None:
        with locked(pidfile) as process:
            assert daemon_of(pidfile) == Running(process.pid)

    def test_the_references(self, tunnel: Tunnel, pidfile: Path, tmp_path: Path) -> None:
        with named_as_the_reference(pidfile, tmp_path) as process:
            assert daemon_of(pidfile) == Running(process.pid)

    def test_one_that_starts(self, tunnel: Tunnel, pidfile: Path) -> None:
        pidfile.touch()
        assert daemon_of(pidfile) == Running(None)
        condition = look(tunnel)
        assert condition == Condition(State.PENDING)
        assert list(report.lines(tunnel, condition))[-1] == "  starting"

    def test_one_that_starts_slowly(self, tunnel: Tunnel, pidfile: Path) -> None:
        with locked(pidfile, state="starting"):
            grow_old(pidfile)
            assert daemon_of(pidfile) == Running(None)

    @pytest.mark.parametrize("text", ["", "1", f"{1 << 22}", "nave"])
    def test_what_a_crash_left_behind(self, tunnel: Tunnel, pidfile: Path, text: str) -> None:
        pidfile.write_text(text)
        grow_old(pidfile)
        assert daemon_of(pidfile) is None
        assert look(tunnel) == Condition(State.DOWN)
        assert service.locate(tunnel, pidfile.parent) is None
        service.forget_crashed(tunnel)
        assert not pidfile.exists()

    def test_a_daemon_keeps_its_file(self, tunnel: Tunnel, pidfile: Path) -> None:
        with locked(pidfile) as process:
            remove_stale(pidfile)
            assert pidfile.read_text() == str(process.pid)

    def test_somebody_elses(
        self, tunnel: Tunnel, pidfile: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They could have written the number of any process of ours."""
        with locked(pidfile):
            if os.geteuid() == 0:
                os.chown(pidfile, 65534, -1)
            else:
                monkeypatch.setattr(os, "geteuid", lambda: 65534)
            assert daemon_of(pidfile) is None

    def test_looking_is_not_in_the_way_of_a_start(
        self, tunnel: Tunnel, pidfile: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a file is empty and young nobody takes its lock."""

        def taken(*_arguments: object) -> None:
            raise AssertionError("the lock was taken")

        pidfile.touch()
        monkeypatch.setattr("chancel.tools.hymn.running.fcntl.flock", taken)
        assert daemon_of(pidfile) == Running(None)


def grow_old(path: Path) -> None:
    old = time.time() - STARTING_S - 1
    os.utime(path, (old, old))


class TestAnswers:
    def test_the_recorded_one(self) -> None:
        figures = Figures.of_datagram(EXAMPLE, now=0x7C1 + 3.9)
        assert (figures.tx.spi, figures.rx.spi) == (0x3C6DF77C, 0x3A21A105)
        assert (figures.tx.packets, figures.tx.octets) == (26, 3240)
        assert (figures.rx.packets, figures.rx.octets) == (22, 168)
        assert (figures.tx.age_s, figures.tx.last_s) == (35, 3)
        assert figures.peer == Address("192.168.201.2", 2333)
        assert figures.mtu == 1422
        assert figures.is_online

    @given(st.binary(max_size=200), st.floats(0, 1e9))
    def test_any_bytes(self, data: bytes, now: float) -> None:
        try:
            figures = Figures.of_datagram(data, now)
        except LinkClosed:
            assert len(data) != 88
        else:
            assert len(data) == 88
            assert figures.tx.age_s >= 0

    @pytest.mark.parametrize(
        ("tx", "rx", "last_s", "is_online"),
        [
            (1, 2, 119, True),
            (1, 2, 120, False),
            (1, 2, None, False),
            (0, 2, 1, False),
            (1, 0, 1, False),
        ],
    )
    def test_online(self, tx: int, rx: int, last_s: int | None, is_online: bool) -> None:
        data = datagram(tx, rx, now=5000, last_s=last_s)
        assert Figures.of_datagram(data, 5000.9).is_online is is_online

    @pytest.mark.parametrize(("rx", "state"), [(2, State.ONLINE), (0, State.PENDING)])
    def test_a_daemon_is_asked(self, tunnel: Tunnel, pidfile: Path, rx: int, state: State) -> None:
        with (
            locked(pidfile),
            answering(pidfile.parent / "control", datagram(1, rx)) as requests,
        ):
            assert listed(tunnel) == ["normal tunnels:", f"    hymn-01-02 - {state} (office)"]
        assert requests == [b"\x01"]

    def test_nobody_answers(self, tunnel: Tunnel, pidfile: Path) -> None:
        with locked(pidfile):
            condition = look(tunnel)
            assert condition.state is State.PENDING
            assert "run/control does not answer: No such file" in str(condition.problem)
            assert list(report.lines(tunnel, condition))[-1] == "  not answering"

    def test_an_answer_of_another_size(self, tunnel: Tunnel, pidfile: Path) -> None:
        path = pidfile.parent / "control"
        with answering(path, b"x" * 87), pytest.raises(LinkClosed, match="an answer of 87 bytes"):
            ask(ControlSocket(path, "root"), "root")

    def test_only_the_daemon_can_answer(self, tunnel: Tunnel, pidfile: Path) -> None:
        """A file that is no socket of the tunnel's user isn't asked."""
        path = pidfile.parent / "control"
        path.touch()
        with pytest.raises(LinkClosed, match="is not the tunnel's"):
            ask(ControlSocket(path, "root"), "root")

    def test_a_socket_of_somebody_else_is_not_asked(
        self, tunnel: Tunnel, pidfile: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = pidfile.parent / "control"
        with answering(path):
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534)
            else:  # it can't be given away: be somebody else
                monkeypatch.setattr(os, "geteuid", lambda: 54321)
            with pytest.raises(LinkClosed, match="is not the tunnel's"):
                ask(ControlSocket(path, "root"), "root")

    def test_nothing_is_left_behind(
        self, tunnel: Tunnel, pidfile: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(pidfile.parent))
        path = pidfile.parent / "control"
        with answering(path, datagram(1, 2)):
            ask(ControlSocket(path, "root"), "root")
        assert list(pidfile.parent.iterdir()) == [path]


class TestReports:
    def test_the_recorded_one(self, tunnel: Tunnel, tmp_path: Path) -> None:
        """Word for word, with tabs and blanks at the end of lines (daemon section 5.5)."""
        networks = "\nroute 10.88.0.0/24\naccept 10.88.0.0/24\n\nrun heaven-rx"
        tunnel = written(tmp_path, PLAIN.replace("\n\nrun heaven-rx", networks))
        figures = Figures.of_datagram(datagram(0x2CEA6EE1, 0x7B6C02E, now=5000), 5000.9)
        told = "\n".join(report.lines(tunnel, Condition(State.ONLINE, figures)))
        side = "pkt            26 \n    bytes          3240 \n    last packet    1 seconds ago\n"
        assert told == (
            "hymn-01-02:\n  name\t\toffice\n  device\ttun\n  shroud\tno\n"
            "  local\t\t192.168.201.1:2333\n  tunnel\t10.77.0.1/30\n  mtu\t\tauto (1422)\n"
            "\n  peer\t\t192.168.201.2:2333\n"
            "\n  routes\n    10.88.0.0/24\n\n  accepts\n    10.88.0.0/24\n"
            f"\n  tx\n    spi            2cea6ee1 (age: 9 seconds)\n    {side}"
            f"\n  rx\n    spi            07b6c02e (age: 9 seconds)\n    {side}"
        )

    def test_without_keys(self, tunnel: Tunnel, pidfile: Path) -> None:
        with (
            locked(pidfile),
            answering(pidfile.parent / "control", datagram(0, 0, last_s=None)),
        ):
            told = list(report.lines(tunnel, look(tunnel)))
        assert told.count("    spi            none") == 2
        assert told.count("    last packet    never") == 2

    def test_a_cathedrals_peer_is_where_it_is_now(self, tunnel: Tunnel, tmp_path: Path) -> None:
        registered = written(tmp_path, CATHEDRAL)
        figures = Figures.of_datagram(datagram(1, 2), time.monotonic())
        told = "\n".join(report.lines(registered, Condition(State.ONLINE, figures)))
        assert "  cathedral\t192.168.201.2:1234 (192.168.201.2:2333)\n    nat-port\t1235\n" in told
        assert "    flock-dst\tdeadbeefcafebb00\n    identity\t30b4c39\n" in told
        assert "  mtu\t\t1422\n" in told

    def test_a_liturgy_just_runs(self, tunnel: Tunnel, pidfile: Path, tmp_path: Path) -> None:
        choir = written(tmp_path, LITURGY, "493abf95a07e0c52-01-00")
        with locked(pidfile):
            assert listed(choir) == [
                *("cathedral tunnels:", "liturgies:"),
                "    493abf95a07e0c52-01-00 - running (choir)",
            ]
            assert list(report.lines(choir, look(choir))) == [
                "493abf95a07e0c52-01-00:",
                *("  name\t\tchoir", "  liturgy\tyes", "    group\tcafe", "    prefix\t172.31.0.0"),
                *("  device\ttun", "  shroud\tno", "", "  cathedral\t127.0.0.1:4500"),
                *("    nat     \tdisabled", "    flock-src\t493abf95a07e0c52"),
                *("    identity\t30b4c39", "", "  running"),
            ]


class TestStopping:
    def test_a_daemon_gets_a_signal_and_is_waited_for(self, tunnel: Tunnel, pidfile: Path) -> None:
        with locked(pidfile) as process:
            found = service.locate(tunnel, pidfile.parent)
            assert found == Running(process.pid)
            service.stop(tunnel, found)
            assert process.wait(60) == 0
        assert not pidfile.exists()

    def test_one_that_does_not_end_is_told(
        self, tunnel: Tunnel, pidfile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "END_LIMIT_S", 0.05)
        with locked(pidfile) as process:
            os.kill(process.pid, 19)  # SIGSTOP
            with pytest.raises(LinkClosed, match="hymn-01-02 did not end"):
                service.stop(tunnel, Running(process.pid))

    def test_a_stranger_who_has_its_number_now_is_left_alone(
        self, tunnel: Tunnel, pidfile: Path
    ) -> None:
        """The daemon ended between the look at its file and the signal."""
        with locked(pidfile.with_name("other.pid")) as stranger:
            service.stop(tunnel, Running(stranger.pid))
            assert stranger.poll() is None
            assert pidfile.with_name("other.pid").exists()

    def test_one_that_is_gone_is_stopped(self, tunnel: Tunnel) -> None:
        service.stop(tunnel, Running(1 << 22))

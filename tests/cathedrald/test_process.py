"""A whole cathedral on a network of its own: real processes, sealed, with clients."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from chancel.cathedrald import config, guardian
from chancel.cathedrald.settings import SettingsRefused
from chancel.daemon.hot import twins
from chancel.daemon.linux import MachineError
from chancel.errors import LocalProtocolError
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.types import Address, InstanceId
from tests.cathedrald.parish import (
    FLOCK,
    LOCAL,
    NAT_PORT,
    SETTINGS,
    Client,
    Parish,
    bundle,
    traffic,
)
from tests.cathedrald.running import DUTIES, RunningCathedral
from tests.daemon.network import InNetwork

NAT = Address(LOCAL.host, NAT_PORT)


@pytest.mark.parametrize("word", ["on", "off"])
def test_clients_register_and_are_relayed(in_network: InNetwork, parish: Parish, word: str) -> None:
    def test() -> None:
        running = RunningCathedral(parish.config(f"accelerator {word}"), parish.folder)
        expected = word if twins.module() is not None or word == "off" else "not installed"
        assert running.status()["group"]["accelerator"] == expected
        one, other = Client(parish, 1, 2), Client(parish, 2, 1)
        one.register(other)
        other.say()
        answer = other.hear().body
        assert isinstance(answer, AnswerBody)
        assert answer.peer == LOCAL  # relayed: neither has NAT detection
        sent = [traffic(other, number=number) for number in range(40)]
        one.socket.setsockopt(socket.SOL_UDP, 103, len(sent[0]))
        one.socket.sendto(b"".join(sent), LOCAL)
        assert [other.socket.recv(2048) for _ in sent] == sent
        for _ in range(3):  # the way is known by now
            one.socket.sendto(b"".join(sent), LOCAL)
            assert [other.socket.recv(2048) for _ in sent] == sent
        running.wait_for(lambda: running.cathedral()["relayed"]["traffic"]["packets_out"] == 160)
        found = running.cathedral()
        assert found["relayed"]["traffic"]["bytes"] == 160 * 1400
        assert found["datagrams"]["tx"]["datagrams"] >= 160
        assert found["tunnels"] == {"local": 2, "federated": 0}
        assert "tunnel registered flocks=cafeba00-cafeba00 tunnel=0102" in running.log()
        assert running.stop() == 0
        assert not (parish.folder / "nave.ctl").exists()

    in_network(test)


def test_both_sockets_feed_one_brain_and_the_main_one_answers(
    in_network: InNetwork, parish: Parish
) -> None:
    def test() -> None:
        parsed = parish.config(f"cathedral_nat_port {NAT_PORT}")
        running = RunningCathedral(parsed, parish.folder)
        one, other = Client(parish, 1, 2), Client(parish, 2, 1)
        one.register(other)
        one.say(nat=True, to=NAT)
        one.say(to=NAT)
        answer, source = one.socket.recvfrom(2048)
        assert (len(answer), source) == (623, LOCAL)
        assert running.cathedral()["nat_local"] == str(NAT)
        assert running.stop() == 0

    in_network(test)


def test_settings_change_while_it_runs(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        running = RunningCathedral(parish.config(), parish.folder)
        one, other = Client(parish, 1, 2), Client(parish, 2, 1)
        one.register(other)

        wrong = SETTINGS.replace("spi 02", "spi 2x")
        parish.settings.write_text(f"{wrong}flok\n")
        running.ask({"do": "reload"})
        running.wait_for(lambda: len(running.cathedral()["settings"]["problems"]) == 2)
        parish.settings.write_text(wrong)
        running.ask({"do": "reload"})
        running.wait_for(lambda: len(running.cathedral()["settings"]["problems"]) == 1)
        (problem,) = running.cathedral()["settings"]["problems"]
        assert problem.startswith(f"{parish.settings}:3: allow: '2x'")
        assert problem in running.log()
        running.wait_for(lambda: running.cathedral()["tunnels"]["local"] == 2)

        parish.settings.write_text(SETTINGS.replace("spi 02", "spi 03"))
        running.ask({"do": "reload"})
        running.wait_for(lambda: running.cathedral()["tunnels"]["local"] == 1)
        assert running.cathedral()["settings"]["problems"] == []
        assert (
            "tunnel ended flocks=cafeba00-cafeba00 tunnel=0201 reason=not-allowed" in running.log()
        )
        assert running.stop() == 0

    in_network(test)


def test_bundles_are_handed_out_and_replaced(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        path = parish.bundle("home.ambry", FLOCK, generation=1)
        parish.settings.write_text(SETTINGS.replace("    allow", f"    ambry {path}\n    allow", 1))
        running = RunningCathedral(parish.config(), parish.folder)
        client = Client(parish, 1, 2)
        wanting = InfoBody(client.tunnel, InstanceId(1), 0, client.spi)

        def handed_out() -> int:
            client.say(wanting)
            body = client.hear().body
            assert isinstance(body, AmbryBody)
            return body.header.generation

        assert handed_out() == 1
        path.write_bytes(bundle(FLOCK, generation=2)[:1000])
        running.ask({"do": "reload"})
        running.wait_for(lambda: running.cathedral()["bundles"][0]["problem"] != "")
        assert handed_out() == 1
        path.write_bytes(bundle(FLOCK, generation=3))
        running.ask({"do": "reload"})
        running.wait_for(lambda: running.cathedral()["bundles"][0]["generation"] == "00000003")
        assert handed_out() == 3
        assert running.stop() == 0

    in_network(test)


def test_counters_are_zeroed_by_a_signal(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        running = RunningCathedral(parish.config(), parish.folder)
        one, other = Client(parish, 1, 2), Client(parish, 2, 1)
        one.register(other)
        one.socket.sendto(traffic(other), LOCAL)
        other.socket.recv(2048)
        running.wait_for(lambda: running.cathedral()["relayed"]["traffic"]["packets_in"] == 1)
        os.kill(running.processes["cathedral"], signal.SIGUSR1)
        one.say()  # whatever comes has the counters published
        running.wait_for(lambda: running.cathedral()["relayed"]["traffic"]["packets_in"] == 0)
        assert running.stop() == 0

    in_network(test)


def test_the_references_tools_get_their_datagram(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        control = parish.folder / "control"
        parsed = parish.config(f"control {control} root", f"pidfile {parish.folder}/pid")
        running = RunningCathedral(parsed, parish.folder)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tool:
            tool.settimeout(60)
            tool.bind(str(parish.folder / "tool"))
            tool.sendto(b"\1", str(control))
            answer = tool.recv(200)
        assert len(answer) == 88
        assert int.from_bytes(answer[86:], "little") == 1422
        assert (parish.folder / "pid").read_text() == str(running.pid)
        assert running.stop() == 0
        assert not control.exists()
        assert not (parish.folder / "pid").exists()

    in_network(test)


def test_requests_that_make_no_sense(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        running = RunningCathedral(parish.config(), parish.folder)
        with pytest.raises(LocalProtocolError, match="expected reload, stop, or trace"):
            running.ask({"do": "remove", "instance": "nave"})
        with pytest.raises(LocalProtocolError, match="expected reload, stop, or trace"):
            running.ask({"do": "enter"})
        running.ask({"do": "stop"})
        assert running.wait() == 0

    in_network(test)


def test_one_dead_process_ends_all(in_network: InNetwork, parish: Parish) -> None:
    def test() -> None:
        running = RunningCathedral(parish.config(), parish.folder)
        os.kill(running.processes["cathedral"], signal.SIGKILL)
        assert running.wait() == 1
        assert "cathedral exited (signal 9)" in running.log()

    in_network(test)


class TestStart:
    def test_with_errors_in_the_settings(self, parish: Parish) -> None:
        parish.settings.write_text("flok\n")
        with pytest.raises(SettingsRefused, match=f"{parish.settings}:1: "):
            guardian.serve(parish.config(), parish.folder, DUTIES)

    def test_with_an_address_of_somebody_else(self, in_network: InNetwork, parish: Parish) -> None:
        def test() -> None:
            text = parish.text().replace(str(LOCAL), "192.0.2.1:4500")
            with pytest.raises(MachineError, match="this machine has no such address"):
                guardian.serve(config.parse(text, "nave.conf"), parish.folder, DUTIES)
            assert list(Path(parish.folder).glob("*.ctl")) == []

        in_network(test)

    def test_without_a_bundle_that_the_settings_name(
        self, in_network: InNetwork, parish: Parish
    ) -> None:
        """It relays all the same: devices have keys until they want new ones."""

        def test() -> None:
            path = parish.folder / "late.ambry"
            text = SETTINGS.replace("    allow", f"    ambry {path}\n    allow", 1)
            parish.settings.write_text(text)
            running = RunningCathedral(parish.config(), parish.folder)
            Client(parish, 1, 2).register(Client(parish, 2, 1))
            assert "late.ambry: doesn't exist" in running.log()
            parish.bundle("late.ambry", FLOCK, generation=4)
            running.ask({"do": "reload"})
            running.wait_for(lambda: running.cathedral()["bundles"][0]["generation"] == "00000004")
            assert running.stop() == 0

        in_network(test)

"""The set-up process: what it hands back, what it says when it can't, and that nobody else pays."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chancel.daemon import config, netconf
from chancel.daemon.config_types import TunnelConfig
from chancel.daemon.device_setup import SetUp
from chancel.daemon.interface import Interface
from chancel.daemon.linux import MachineError
from tests.daemon.network import InNetwork
from tests.daemon.running import eventually, text

GUARDIAN_ONLY = """
import os, signal, sys
from pathlib import Path
from chancel.daemon import config, guardian
from chancel.daemon.duties import control
from chancel.daemon.config_types import PROCESSES, Mode
from tests.daemon.test_guardian import Idle

for name in [name for name in sys.modules if name.startswith("pyroute2")]:
    del sys.modules[name]  # what the helpers of the tests have loaded

def up():
    print("pyroute2" in sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)

directory = Path(sys.argv[1])
file = config.parse((directory / "t.conf").read_text(), "t.conf")
makers = dict.fromkeys(PROCESSES[Mode.TUNNEL], Idle) | {"control": control.make}
sys.exit(guardian.serve([file], directory, makers, up))
"""


def configs(tmp: Path, *numbers: int) -> list[TunnelConfig]:
    return [config.parse(text(tmp, number), f"{number}.conf") for number in numbers]


def test_devices_outlive_the_process_that_made_them(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        first, second = configs(tmp, 1, 2)
        with SetUp([first, second]) as setup:
            made = [setup.make(second), setup.make(first)]
        assert [device.name for device, _ in made] == ["dm2", "dm1"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.bind(("10.77.1.1", 0))
        for device, interface in made:
            interface.set_mtu(1300)
            assert not os.get_blocking(device.fd)
            os.close(device.fd)
            assert interface.wait_gone()

    in_network(test)


def test_a_failure_is_one_sentence_and_leaves_nothing(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        first, second = configs(tmp, 1, 2)
        clash = config.parse(text(tmp, 3, "route 10.77.1.0/30"), "3.conf")
        with SetUp([first, clash, second]) as setup:
            kept = setup.make(first)
            with pytest.raises(MachineError, match=r"route 10\.77\.1\.0/30 already exists"):
                setup.make(clash)
            assert not netconf.exists("dm3")
            setup.make(second)  # it goes on
        assert kept[1].exists()

    in_network(test)


def test_what_nobody_took_is_gone_with_the_process(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        (only,) = configs(tmp, 1)
        with SetUp([only]) as setup:
            setup._link.send({"make": 0})
            eventually(lambda: bool(select.select([setup._link], [], [], 0)[0]))
            assert netconf.exists("dm1")
        assert Interface.here("dm1").wait_gone()

    in_network(test)


def test_a_process_that_was_killed_is_a_failure(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        (only,) = configs(tmp, 1)
        with SetUp([only]) as setup:
            os.kill(setup._pid, 9)
            with pytest.raises(MachineError, match="the set-up process has ended"):
                setup.make(only)

    in_network(test)


def test_the_guardian_never_loads_the_netlink_library(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        (tmp / "t.conf").write_text(text(tmp, 1))
        command = [sys.executable, "-c", GUARDIAN_ONLY, str(tmp)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "False" in done.stdout.splitlines()

    in_network(test)

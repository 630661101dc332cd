"""Whether a group uses the accelerator: by its file, by what is installed, and of which release."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chancel import __version__
from chancel.daemon.accelerator import Accelerator, engage
from chancel.daemon.hot import twins
from chancel.daemon.process import Process
from tests.daemon.network import InNetwork
from tests.daemon.running import Running, text
from tests.daemon.test_guardian import MAKERS, Idle

Install = Callable[[str | None], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Stand in for the module: of some version, or none at all."""

    def installed(version: str | None) -> None:
        module = ModuleType("chancel_accel")
        for name in ("LaneReader", "LaneWriter"):  # which every process has
            setattr(module, name, lambda *_of: None)
        if version is not None:
            module.__version__ = version  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "chancel_accel", module)

    return installed


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chancel_accel", None)


@pytest.fixture(autouse=True)
def _twins_as_before(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    before = twins.used()
    yield
    twins.use(before)


def test_it_is_used_where_it_is_installed(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(__version__)
    assert engage(wanted=True) is Accelerator.ON
    assert twins.used() == set(twins.NAMES)
    assert caplog.messages == ["the accelerator is on"]


def test_a_file_may_say_no(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(__version__)
    assert engage(wanted=False) is Accelerator.OFF
    assert twins.used() == set()
    assert caplog.messages == ["the accelerator is off"]


@pytest.mark.usefixtures("without")
def test_without_it_python_carries_the_packets(caplog: pytest.LogCaptureFixture) -> None:
    assert engage(wanted=True) is Accelerator.NOT_INSTALLED
    assert twins.used() == set()
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "make accel" in record.getMessage()


@pytest.mark.parametrize("version", ["0.0.9", None])
def test_one_of_another_release_is_not_used(
    install: Install, caplog: pytest.LogCaptureFixture, version: str | None
) -> None:
    install(version)
    assert engage(wanted=True) is Accelerator.ANOTHER_VERSION
    assert twins.used() == set()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"found={version or 'unknown'} expected={__version__}" in record.getMessage()


class Telling(Idle):
    """Says which twins its process would use."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        print(f"{process.name}: {len(twins.used())} compiled", flush=True)


@pytest.mark.parametrize(
    ("line", "state", "compiled"),
    [("accelerator on", "on", len(twins.NAMES)), ("accelerator off", "off", 0)],
)
def test_all_processes_of_a_group_use_it_or_none(
    in_network: InNetwork, install: Install, tmp: Path, line: str, state: str, compiled: int
) -> None:
    install(__version__)

    def test() -> None:
        running = Running(tmp, text(tmp, 1, line), makers=MAKERS | {"bless": Telling})
        assert running.ask({"do": "status"})["group"]["accelerator"] == state
        assert f"bless: {compiled} compiled\n" in running.log()
        other = "off" if state == "on" else "on"
        with pytest.raises(Exception, match=f"accelerator: {other} here and {state} in"):
            running.add(text(tmp, 2, f"accelerator {other}"))
        assert running.stop() == 0

    in_network(test)

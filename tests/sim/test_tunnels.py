"""The same scenarios with tunnels of the library: they do what the sessions inside them would do.

Between a tunnel and its session there are tasks, a port, queues and a timer. None of that may show:
with equal seeds each event of the protocol has to happen at the same moment as with a bare session
that is fed directly, down to the last bit of every SPI. What differs is in :data:`SPARED`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from chancel.errors import LocalProtocolError
from chancel.protocol.events import PeerUnresponsive
from chancel.sim import command
from chancel.sim.campaign import HARD_DAY, hard_days, run_all
from chancel.sim.filters import CiphertextBlock
from chancel.sim.ledger import Rule
from chancel.sim.nat import NAT_TYPES
from chancel.sim.pair import LEFT, Ends, Pair, Report, TunnelPair, run
from chancel.sim.scenario import Kind, Scenario, Version
from chancel.sim.suite import FastSuite
from chancel.tunnel import Down, Refused, Up
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS

SPARED = {Drop.NO_KEY, Drop.NO_PEER}
"""A session that is given a payload without a key, or a peer, drops it and counts that. A tunnel
that is down takes none."""

CHANCEL, REFERENCE = Kind.CHANCEL, Kind.REFERENCE


def comparable(report: Report) -> Report:
    """Without what may differ."""
    left, right = (
        type(drops)({reason: drops[reason] for reason in drops if reason not in SPARED})
        for drops in report.drops
    )
    scenario = dataclasses.replace(report.scenario, tunnels=False)
    return dataclasses.replace(report, drops=(left, right), scenario=scenario)


def assert_same(scenario: Scenario) -> Report:
    """Run it with sessions and with tunnels, and compare all that a report has; that of tunnels.

    The digest covers time, node, and all fields of every event.
    """
    tunnels = run(dataclasses.replace(scenario, tunnels=True))
    assert comparable(tunnels) == comparable(run(scenario)), scenario.command()
    return tunnels


@pytest.mark.parametrize("day", list(hard_days(range(1, 4))), ids=Scenario.command)
def test_the_morning_of_a_hard_day(day: Scenario) -> None:
    report = assert_same(dataclasses.replace(day, hours=8.0))
    assert report.ok, report.violations[:5]
    assert report.restarts > 0
    assert report.events > 150


@pytest.mark.parametrize(
    "trouble",
    [
        {},
        {"loss": 0.05},
        {"fragment_loss": 0.3},
        {"duplicate": 0.1, "reorder": 0.1},
        {"corrupt": 0.05},
        {"restarts": True, "hours": 12.0},
        {"skew": True},
        {"latency_s": 0.0, "jitter_s": 0.0},
        {"latency_s": 2.0, "jitter_s": 1.0},
        {"payload_every_s": 0.5, "hours": 1.1},
    ],
    ids=str,
)
def test_each_kind_of_trouble(trouble: dict[str, Any]) -> None:
    assert_same(Scenario(**{"hours": 2.5, "seed": 2, **trouble}))


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("left", list(Kind))
@pytest.mark.parametrize("right", list(Kind))
def test_every_combination_of_behaviours(left: Kind, right: Kind, version: Version) -> None:
    assert_same(Scenario(hours=2.5, loss=0.02, kinds=(left, right), version=version))


@pytest.mark.parametrize("nat", NAT_TYPES)
def test_every_type_of_nat(nat: str) -> None:
    report = assert_same(Scenario(seed=3, hours=6.0, loss=0.02, restarts=True, nat=nat))
    assert report.ok, report.violations[:5]


def test_rules_that_the_reference_breaks_are_seen_in_tunnels_as_well() -> None:
    """The ledger watches tunnels as closely: it finds the same faults at the same moments."""
    hard = dataclasses.replace(HARD_DAY, kinds=(REFERENCE, REFERENCE), version=Version.LEGACY)
    broken = {violation.rule for violation in assert_same(hard).violations}
    assert broken == {Rule.REPEATED}


Story = Callable[[Ends[Any]], None]


def suspended(pair: Ends[Any]) -> None:
    pair.clock.run_until(600.0)
    pair.left.suspend(400.0)
    pair.clock.run_until(1000.0)
    pair.right.suspend(30.0)
    pair.clock.run_until(1100.0)


def clock_set(pair: Ends[Any]) -> None:
    pair.left.clock.set_wall(3600.0)
    pair.clock.run_until(100.0)
    pair.left.clock.set_wall(0.0)
    pair.clock.run_until(200.0)


def blocked(pair: Ends[Any]) -> None:
    """The stall of protocol section 7.1."""
    suite = FastSuite(pair.rng)
    pair.network.refuse = block = CiphertextBlock(pair.secret, NO_FLOCKS, suite, LEFT.host)
    pair.clock.run_until(45.0)
    block.active = False


def cut_off(pair: Ends[Any]) -> None:
    """Long enough for both to give the other up."""
    pair.clock.run_until(100.0)
    pair.network.refuse = lambda *_: True
    pair.clock.run_until(400.0)
    pair.network.refuse = None


def restarted(pair: Ends[Any]) -> None:
    """At once, for a moment, for long, and both."""
    for at, down_s in ((100.0, 0.0), (200.0, 0.3), (300.0, 200.0)):
        pair.clock.run_until(at)
        pair.restart(pair.left, down_s)
    pair.clock.run_until(700.0)
    for node in pair.nodes:
        pair.restart(node, 5.0)


@pytest.mark.parametrize("story", [suspended, clock_set, blocked, cut_off, restarted])
@pytest.mark.parametrize("kinds", [(CHANCEL, CHANCEL), (CHANCEL, REFERENCE)])
def test_a_story(story: Story, kinds: tuple[Kind, Kind]) -> None:
    traces = []
    for ends in (Pair, TunnelPair):
        pair: Ends[Any] = ends(Scenario(hours=1.0, kinds=kinds, payload_every_s=5.0), True)
        pair.start()
        story(pair)
        pair.clock.run_until(1500.0)
        traces.append(pair.trace.lines)
        assert pair.left.status().send_spi == pair.right.status().receive_spi != 0
        pair.report()
    session, tunnel = traces
    assert tunnel == session
    assert len(session) > 15


def test_a_tunnel_says_in_its_own_words_what_happens() -> None:
    pair = TunnelPair(Scenario(), keep_trace=True)
    pair.start()
    cut_off(pair)
    pair.clock.run_until(500.0)
    assert any(PeerUnresponsive.__name__ in line for line in pair.trace.lines)
    for node in pair.nodes:
        assert [type(told) for told in node.told] == [Up, Down, Up]
        assert node.tunnel is not None
        assert node.tunnel.is_up
    pair.report()


def test_a_tunnel_with_a_wrong_clock_says_why_it_is_down() -> None:
    pair = TunnelPair(Scenario())
    pair.left.clock.set_wall(43.0)
    pair.start()
    pair.clock.run_until(10.0)
    for node, side in ((pair.left, "ahead of"), (pair.right, "behind")):
        assert node.tunnel is not None
        assert [told.reason for told in node.told if isinstance(told, Refused)] == [Drop.OFFER_TIME]
        assert f"our clock is 43 s {side}" in (node.tunnel.status().problem or "")
    pair.report()


def test_power_off_sends_nothing_and_leaves_nothing() -> None:
    pair = TunnelPair(Scenario())
    pair.start()
    assert pair.wait_up(10.0) <= 5.0
    sent = pair.network.sent
    for node in pair.nodes:
        node.stop()
        assert node.status() is None
        assert not node.send(b"nobody is there")
    pair.clock.run_until(pair.clock.now + 7200.0)
    assert pair.network.sent == sent


def test_a_crash_inside_a_tunnel_ends_the_run_and_says_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(self: FastSuite, size: int) -> bytes:
        raise LocalProtocolError("made up")

    monkeypatch.setattr(FastSuite, "random", crash)
    with pytest.raises(LocalProtocolError, match="made up") as crashed:
        run(Scenario(seed=4, tunnels=True))
    assert crashed.value.__notes__ == ["repeat: chancel sim pair --seed 4 --tunnels"]


def test_the_command_runs_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = list[TunnelPair]()
    start = TunnelPair.start

    def keep(pair: TunnelPair) -> None:
        ran.append(pair)
        start(pair)

    monkeypatch.setattr(TunnelPair, "start", keep)
    app = typer.Typer()
    app.command("pair")(command.pair)
    words = ["--seed", "9", "--hours", "0.5"]
    with_sessions = CliRunner().invoke(app, words, catch_exceptions=False)
    assert not ran
    with_tunnels = CliRunner().invoke(app, [*words, "--tunnels"], catch_exceptions=False)
    (pair,) = ran
    assert pair.scenario.command() == "chancel sim pair --seed 9 --hours 0.5 --tunnels"
    assert [type(told) for node in pair.nodes for told in node.told] == [Up, Down] * 2
    digests = [
        next(line for line in result.output.splitlines() if "digest" in line)
        for result in (with_sessions, with_tunnels)
    ]
    assert digests[0] == digests[1]


def test_the_suite_runs_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = list[Scenario]()

    def keep(scenarios: list[Scenario], jobs: int) -> list[Report]:
        chosen.extend(scenarios)
        return []

    monkeypatch.setattr(command, "run_all", keep)
    app = typer.Typer()
    app.command("suite")(command.suite)
    for words, tunnels in ([], False), (["--tunnels"], True):
        chosen.clear()
        CliRunner().invoke(
            app,
            ["--seeds", "2", "--ordeals", "0", "--networks", "0", *words],
            catch_exceptions=False,
        )
        assert len(chosen) == 5
        assert {scenario.tunnels for scenario in chosen} == {tunnels}


def test_a_campaign_runs_tunnels_in_several_processes() -> None:
    scenarios = [Scenario(seed=seed, hours=0.1, tunnels=True) for seed in (1, 2)]
    reports = sorted(run_all(scenarios, jobs=2), key=lambda report: report.scenario.seed)
    assert reports == [run(scenario) for scenario in scenarios]

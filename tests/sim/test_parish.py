"""Networks of devices and cathedrals: what befalls them, and that all is well after it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import typer
from cryptography.exceptions import InvalidTag
from typer.testing import CliRunner

from chancel.crypto import ed25519
from chancel.crypto.suite import TAG_BYTES
from chancel.errors import LocalProtocolError
from chancel.protocol.session import Session
from chancel.sim.ledger import Rule
from chancel.sim.machine import PLAINTEXT_MARK
from chancel.sim.models import LinkModel
from chancel.sim.network_campaign import hard_network
from chancel.sim.network_command import network
from chancel.sim.network_report import NetworkReport, spread
from chancel.sim.network_run import run
from chancel.sim.network_scenario import Crypto, NetworkScenario, Talk
from chancel.sim.network_suite import MAX_REMEMBERED, RealSuite, suites
from chancel.sim.parish import Parish
from chancel.sim.parish_plan import Hall, Plan, Resident

LINK = LinkModel(latency_s=0.02, jitter_s=0.01)
SMALL = NetworkScenario(hours=0.15, devices=8, cathedrals=2)


def plan(*places: str, halls: int = 2, ambry: bool = False) -> Plan:
    """Devices 0, 1, ... at these places, each with each, at cathedrals in turn."""
    residents = tuple(
        Resident(f"d{n}", 0, n + 1, place, (n % halls,), LINK) for n, place in enumerate(places)
    )
    pairs = tuple((a, b) for b in range(len(places)) for a in range(b))
    return Plan(5, tuple(Hall(f"c{n}", LINK) for n in range(halls)), residents, pairs, ambry=ambry)


def came_up(parish: Parish, within_s: float) -> bool:
    up = parish.clock.run_while(
        lambda: not all(tunnel.up for tunnel in parish.tunnels), parish.clock.now + within_s
    )
    return up and not parish.violations()


def recoveries(report: NetworkReport, what: str) -> list[float]:
    return [each.took_s for each in report.recoveries if each.what == what and each.of]


def test_all_tunnels_come_up_and_go_direct_where_theory_lets_them() -> None:
    parish = Parish(plan("public", "port-restricted", "symmetric", "carrier-symmetric"))
    parish.start()
    assert came_up(parish, 10.0)
    parish.run(60.0)
    assert [t.direct for t in parish.tunnels] == [parish.can_be_direct(t) for t in parish.tunnels]
    assert not all(tunnel.direct for tunnel in parish.tunnels)


def test_a_split_that_heals_converges() -> None:
    report = run(NetworkScenario(seed=11, hours=0.25, devices=12, cathedrals=2, splits=1))
    assert report.violations == []
    (took_s,) = recoveries(report, "split healed")
    assert took_s < 60.0
    fewest = min(sample.up for sample in report.samples()[4:])
    last = report.samples()[-1]
    assert fewest < last.possible == last.up


def test_devices_of_a_dead_cathedral_find_another() -> None:
    report = run(NetworkScenario(seed=2, hours=0.25, devices=12, cathedrals=3, deaths=1))
    assert report.violations == []
    (took_s,) = recoveries(report, "death")
    assert took_s < 60.0


def test_new_secrets_reach_all_within_an_interval_and_two_seconds() -> None:
    report = run(NetworkScenario(seed=3, hours=0.15, devices=20, cathedrals=2, rolls=1))
    assert report.violations == []
    (took_s,) = recoveries(report, "roll-over")
    assert 0.0 < took_s <= 5.0 + 2.0


def test_a_flash_crowd_comes_up_as_fast_as_a_trickle() -> None:
    scenario = dataclasses.replace(SMALL, devices=40)
    for each in (scenario, dataclasses.replace(scenario, flash=True)):
        report = run(each)
        assert report.violations == []
        assert len(report.up_s) == 20
        assert max(report.up_s) < 10.0


@pytest.mark.parametrize("seed", [1, 3, 11])
def test_a_network_that_has_it_hard_is_well_in_the_end(seed: int) -> None:
    scenario = dataclasses.replace(hard_network(seed), devices=10, flock=4, hours=0.25)
    report = run(scenario)
    assert report.violations == [], scenario.command()
    assert all(math.isfinite(each.took_s) for each in report.recoveries)


def test_fast_primitives_give_the_events_of_real_ones() -> None:
    hard = NetworkScenario(
        seed=4, hours=0.1, devices=8, cathedrals=3, churn_s=100.0, loss=0.05, rolls=1, deaths=1
    )
    fast, real = (run(dataclasses.replace(hard, crypto=crypto)) for crypto in Crypto)
    assert fast.pools[0].events == real.pools[0].events > 50
    assert fast.pools[0].digest == real.pools[0].digest
    assert fast.pools[0].loads == real.pools[0].loads
    assert run(dataclasses.replace(hard, seed=5)).pools[0].digest != fast.pools[0].digest


def test_pools_give_the_same_side_by_side_as_one_after_the_other() -> None:
    scenario = dataclasses.replace(SMALL, devices=12, cathedrals=4, pools=2)
    one, two = run(scenario, jobs=1), run(scenario, jobs=2)
    forget = [[dataclasses.replace(pool, cpu_s=0.0) for pool in each.pools] for each in (one, two)]
    assert forget[0] == forget[1]
    assert one.pools[0].digest != one.pools[1].digest


def test_a_device_that_moves_keeps_its_tunnels_and_is_not_where_it_was() -> None:
    parish = Parish(plan("public", "full-cone", "public"))
    parish.start()
    assert came_up(parish, 10.0)
    before = parish.devices[0].ends[0].address
    parish.move(0, "port-restricted")
    assert before not in parish.network.public.sockets
    parish.run(150.0)
    assert all(tunnel.direct for tunnel in parish.tunnels)
    assert parish.violations() == []


def test_a_device_without_udp_is_given_up_and_comes_back() -> None:
    parish = Parish(plan("public", "restricted"))
    parish.start()
    assert came_up(parish, 10.0)
    parish.move(1, "no-udp")
    parish.run(200.0)
    assert not parish.tunnels[0].up
    parish.move(1, "public")
    assert came_up(parish, 60.0)


def test_the_ledger_of_a_tunnel_notices_that_it_does_not_come_up() -> None:
    parish = Parish(plan("public", "public"))
    for cathedral in range(2):
        parish.cathedrals[cathedral].stop()
    for number in range(2):
        parish.power_on(number)
    parish.expect_up(0, 30.0)
    parish.run(31.0)
    assert [each.rule for each in parish.violations()] == [Rule.NOT_UP]


def test_sessions_are_woken_only_when_they_want_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[bool] = []
    wake = Session.wake

    def watched(session: Session, now: float, wall: float) -> None:
        at = session.wake_at()
        wanted.append(at is not None and at <= now)
        wake(session, now, wall)

    monkeypatch.setattr(Session, "wake", watched)
    parish = Parish(plan("port-restricted", "symmetric"))
    for number in range(2):
        parish.power_on(number)
    for cathedral in parish.cathedrals:
        cathedral.start()
    parish.run(120.0)
    parish.suspend(0, 30.0)
    parish.run(600.0)
    assert len(wanted) > 200
    assert all(wanted)


@pytest.mark.parametrize("crypto", Crypto)
def test_a_signature_is_of_one_key_and_one_message(crypto: Crypto) -> None:
    suite, seed = suites(crypto)(random.Random(1)), bytes(32)
    public = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
    signature = suite.sign(seed, b"words")
    assert len(signature) == ed25519.SIGNATURE_BYTES
    for _ in range(2):  # the second time from memory
        assert suite.verify_untrusted(public, b"words", signature)
        assert not suite.verify_untrusted(public, b"other", signature)
        assert not suite.verify_untrusted(bytes(32), b"words", signature)


def test_what_looks_for_signatures_remembers_no_more_than_it_may() -> None:
    verified: dict[tuple[bytes, bytes, bytes], bool] = {}
    suite = RealSuite(random.Random(1), verified)
    verified.update({(b"", b"", b"%d" % n): False for n in range(MAX_REMEMBERED)})
    assert not suite.verify_untrusted(bytes(32), b"words", bytes(64))
    assert len(verified) == 1


@pytest.mark.parametrize("crypto", Crypto)
def test_a_cipher_of_a_network_notices_every_kind_of_damage(crypto: Crypto) -> None:
    suite, key = suites(crypto)(random.Random(1)), bytes(32)
    nonce, header = bytes(12), bytes(32)
    sealed = suite.aead(key).encrypt(nonce, PLAINTEXT_MARK, header)
    assert len(sealed) == len(PLAINTEXT_MARK) + TAG_BYTES
    assert PLAINTEXT_MARK not in sealed
    buffer, opened = bytearray(len(sealed)), bytearray(len(PLAINTEXT_MARK))
    assert suite.aead(key).encrypt_into(nonce, PLAINTEXT_MARK, header, buffer) == len(sealed)
    assert suite.aead(key).decrypt_into(nonce, memoryview(buffer), header, opened) == len(opened)
    assert bytes(opened) == PLAINTEXT_MARK == suite.aead(key).decrypt(nonce, sealed, header)
    for other, data, known, aad in (
        (b"\x01" * 32, sealed, nonce, header),
        (key, bytes([sealed[0] ^ 1]) + sealed[1:], nonce, header),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), nonce, header),
        (key, sealed, b"\x01" * 12, header),
        (key, sealed, nonce, b"\x01" * 32),
        (key, sealed[:8], nonce, header),
    ):
        with pytest.raises(InvalidTag):
            suite.aead(other).decrypt(known, data, aad)


def test_both_suites_draw_the_same() -> None:
    drawn = []
    for crypto in Crypto:
        rng = random.Random(7)
        suite = suites(crypto)(rng)
        suite.ecdh_key_pair()
        suite.kem_encapsulate(suite.kem_key_pair().public)
        drawn.append(suite.random(16))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("talk", "tunnels"), [(Talk.PAIRS, 5), (Talk.STAR, 8), (Talk.MESH, 5 * 4 + 0)]
)
def test_who_talks_to_whom(talk: Talk, tunnels: int) -> None:
    scenario = NetworkScenario(devices=10, flock=5, talk=talk, cathedrals=1)
    found = scenario.plan(0).tunnels
    assert len(found) == tunnels + (1 if talk is Talk.PAIRS else 0)
    assert len(set(found)) == len(found)


def test_nobody_is_alone_in_a_flock() -> None:
    for devices in range(2, 30):
        plan_ = NetworkScenario(devices=devices, flock=7, cathedrals=1).plan(0)
        assert len(plan_.residents) == devices
        assert {index for pair in plan_.tunnels for index in pair} == set(range(devices))


@pytest.mark.parametrize(
    "wrong", [{"flock": 255}, {"pools": 4}, {"cathedrals": 33}, {"devices": 3, "pools": 2}]
)
def test_a_scenario_that_can_not_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError):
        NetworkScenario(**wrong)  # type: ignore[arg-type]  # whole numbers, all of them


def test_the_command_repeats_the_run_and_draws_it(tmp_path: Path) -> None:
    scenario = dataclasses.replace(SMALL, seed=9, loss=0.01, flash=True, rolls=1)
    words = shlex.split(scenario.command())
    assert words[:3] == ["chancel", "sim", "network"]
    app = typer.Typer()
    app.command()(network)
    picture = tmp_path / "net.svg"
    done = CliRunner().invoke(app, [*words[3:], "--json", "-o", str(picture)])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["digests"] == [run(scenario).pools[0].digest]
    assert figures["tunnels_up"] == 4
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")


def test_spread() -> None:
    assert spread([]) is None
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "p95": 3.0, "most": 3.0}
    assert spread([float(n) for n in range(1, 101)]) == {"median": 50.5, "p95": 95.0, "most": 100.0}

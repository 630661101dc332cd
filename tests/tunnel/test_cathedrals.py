"""Tunnels that find their peer through a cathedral: what a program gives, gets and is told."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from chancel.errors import LocalProtocolError, VaultError
from chancel.links.memory import MemoryNetwork, memory_pair
from chancel.protocol.events import PathDirect, PathRelayed
from chancel.protocol.registration_events import AmbryAdopted, CathedralSilent
from chancel.protocol.session import CathedralStatus
from chancel.tunnel import Cathedrals, Tunnel
from chancel.tunnel.cathedrals import settings_of
from chancel.tunnel.files import replace_file
from chancel.tunnel.names import RETRY_S, Names
from chancel.vault.ambries import beside
from chancel.vault.files import load_secret
from chancel.wire.drop import Drop
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address
from tests.tunnel.pair import LEFT, RIGHT, SECRET, Diary, both_ready, run_jumping, why_not
from tests.tunnel.parish import DEVICES, HERE, NAT_PORT, Parish, tunnel_of

UP_S = 5.0
DIRECT_S = 30.0


def view(tunnel: Tunnel) -> CathedralStatus:
    """What it knows of cathedrals, once it has begun."""
    session = tunnel.status().session
    if session is None:
        return CathedralStatus(None, 0.0, False, None, 0, None)
    assert session.cathedral is not None
    return session.cathedral


async def until_direct(*tunnels: Tunnel) -> None:
    async with asyncio.timeout(DIRECT_S):
        while not all(view(tunnel).direct for tunnel in tunnels):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("shroud", [False, True])
def test_two_programs_meet_through_a_cathedral_and_go_direct(shroud: bool) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork(), shroud=shroud)
        async with parish.served():
            left = tunnel_of(parish, 0, SECRET, shroud=shroud)
            right = tunnel_of(parish, 1, SECRET, shroud=shroud)
            async with left, right:
                diary = Diary(left)
                await left.ready(UP_S)
                await right.ready(UP_S)
                assert left.peer.name == str(HERE)
                await left.send(b"relayed")
                assert await right.receive() == b"relayed"
                await until_direct(left, right)
                await right.send(b"direct")
                assert await left.receive() == b"direct"
                assert left.peer.name == str(RIGHT)
                assert left.known_peers == (RIGHT,)
                assert diary.happened(PathRelayed) == [PathRelayed(HERE)]
                assert diary.happened(PathDirect) == [PathDirect(RIGHT)]
            assert not left.known_peers

    run_jumping(main())


def test_without_a_secret_the_cathedral_brings_one_and_a_new_one_is_taken_over() -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork())
        parish.roll()
        keks = [parish.keks[device] for device in DEVICES]
        async with parish.served():
            left, right = (tunnel_of(parish, side, kek=keks[side]) for side in (0, 1))
            async with left, right:
                diary = Diary(left)
                await both_ready(left, right)
                parish.roll()
                for number in range(300):  # none is lost meanwhile
                    await left.send(b"%d" % number)
                    assert await right.receive() == b"%d" % number
                    await asyncio.sleep(0.05)
                assert [event.generation for event in diary.happened(AmbryAdopted)] == [1, 2]

    run_jumping(main())


def test_a_secret_in_a_file_is_replaced_there(tmp_path: Path) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork())
        new = parish.roll()
        async with parish.served():
            kek = parish.keks[DEVICES[0]]
            async with tunnel_of(parish, 0, path, kek=kek) as left:
                async with asyncio.timeout(UP_S):
                    while view(left).generation != parish.generation:
                        await asyncio.sleep(0.1)
        assert load_secret(path).equals(new)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert sorted(tmp_path.iterdir()) == [path, beside(path)]

    path = tmp_path / "home.key"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    run_jumping(main())


def test_an_ambry_that_was_replaced_is_not_taken_by_the_next_tunnel(tmp_path: Path) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork())
        path, kek = tmp_path / "home.key", parish.keks[DEVICES[0]]
        parish.roll()
        old = parish.bundle
        assert old is not None
        async with parish.served():
            for _ in range(2):
                async with tunnel_of(parish, 0, path, kek=kek) as left, asyncio.timeout(UP_S):
                    while view(left).generation != parish.generation:
                        await asyncio.sleep(0.1)
                parish.roll()
            parish.serve(old)
            async with tunnel_of(parish, 0, path, kek=kek) as left, asyncio.timeout(UP_S):
                while not left.drops[Drop.AMBRY_REPEATED]:
                    await asyncio.sleep(0.1)
                assert view(left).generation == 0

    run_jumping(main())


def test_which_ambries_there_were_is_not_believed_of_what_others_can_change(tmp_path: Path) -> None:
    path = tmp_path / "home.key"
    beside(path).touch(0o620)
    beside(path).chmod(0o620)
    parish = Parish(MemoryNetwork())
    with pytest.raises(VaultError, match="others have rights to it"):
        tunnel_of(parish, 0, path, kek=bytes(32))
    tunnel_of(parish, 1, path)


def test_a_secret_that_can_not_be_kept_is_not_used(tmp_path: Path) -> None:
    async def main() -> str:
        parish = Parish(MemoryNetwork())
        parish.roll()
        async with parish.served():
            path = tmp_path / "nowhere" / "home.key"
            kek = parish.keks[DEVICES[0]]
            async with tunnel_of(parish, 0, path, kek=kek) as left:
                why = await why_not(left, 12.0)
                assert view(left).generation == 0
                return why

    assert "doesn't" in run_jumping(main())


def test_remembrance_is_kept_and_read_again(tmp_path: Path) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork())
        async with parish.served():
            async with tunnel_of(parish, 0, SECRET, remembrance=path):
                async with asyncio.timeout(UP_S):
                    while not path.exists():
                        await asyncio.sleep(0.1)
            data = path.read_bytes()
            assert RemembranceBody.decode_table_untrusted(data).cathedrals == (HERE,)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            left = tunnel_of(parish, 0, SECRET, remembrance=path, addresses=())
            async with left, tunnel_of(parish, 1, SECRET) as right:
                await both_ready(left, right)
                async with asyncio.timeout(UP_S):
                    while view(left).cathedral is None:
                        await asyncio.sleep(0.1)
                assert view(left).cathedral == HERE

    path = tmp_path / "remembrance"
    run_jumping(main())


@pytest.mark.parametrize("content", [b"", b"half a file", bytes(192)])
def test_an_unfinished_file_of_remembrance_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "remembrance"
    path.write_bytes(content)
    parish = Parish(MemoryNetwork())
    assert settings_of(parish.of(0, remembrance=path), SECRET).remembered == ()


async def _silent(parish: Parish, **changes: Any) -> str:
    async with tunnel_of(parish, 0, SECRET, **changes) as left:
        return await why_not(left, 15.0)


async def _served(parish: Parish, **changes: Any) -> str:
    async with parish.served():
        return await _silent(parish, **changes)


async def _cut_off(parish: Parish) -> str:
    parish.roll()
    return await _served(parish, kek=bytes(32))


async def _lonely(parish: Parish) -> str:
    parish.roll()
    return await _served(parish, kek=parish.keks[DEVICES[0]])


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (_silent, f"the cathedral {HERE} is silent for 15 s"),
        (_lonely, "the cathedral answers and the peer doesn't"),
        (_cut_off, "our KEK doesn't open the shared secret"),
    ],
)
def test_ready_says_why_not(trouble: Any, why: str) -> None:
    assert why in run_jumping(trouble(Parish(MemoryNetwork())))


def test_ready_tells_of_a_name_without_an_address() -> None:
    async def main() -> str:
        parish = Parish(MemoryNetwork())
        async with tunnel_of(parish, 0, SECRET, addresses=("no..name:4500",)) as left:
            return await why_not(left, 0.5)

    assert "no..name has no IPv4 address" in asyncio.run(main())


def test_names_are_looked_up_again_and_again() -> None:
    async def main() -> None:
        told: asyncio.Queue[tuple[Address, ...]] = asyncio.Queue()
        targets = (("localhost", 4500), ("203.0.113.9", 1), ("no..name", 2))
        names = Names(targets, told.put_nowait)
        async with asyncio.timeout(2 * RETRY_S):
            task = asyncio.create_task(names.run())
            expected = (Address("127.0.0.1", 4500), Address("203.0.113.9", 1))
            assert await told.get() == expected
            while names.problem is None:
                await asyncio.sleep(0.01)
            assert names.problem == "no..name has no IPv4 address"
            names.look()
            assert await told.get() == expected
            assert await told.get() == expected  # by itself, since one is missing
            task.cancel()

    asyncio.run(main())


def test_a_name_that_takes_long_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever serves one domain may be silent, and later fail; a name keeps what it had."""

    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Queue[tuple[Address, ...]]()
        answers: dict[str, asyncio.Future[str]] = {}

        async def look_up(host: str, port: int, **_: object) -> list[Any]:
            answers[host] = loop.create_future()
            return [(0, 0, 0, "", (await answers[host], port))]

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        names = Names((("slow", 1), ("quick", 2)), told.put_nowait)
        task = asyncio.create_task(names.run())
        slow, quick = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
        async with asyncio.timeout(60.0):
            while len(answers) < 2:
                await asyncio.sleep(0)
            answers["quick"].set_result(quick.host)
            assert await told.get() == (quick,)
            answers["slow"].set_result(slow.host)
            assert await told.get() == (slow, quick)
            answers.clear()
            names.look()
            while len(answers) < 2:
                await asyncio.sleep(0)
            answers["slow"].set_exception(OSError("no DNS"))
            answers["quick"].set_result(quick.host)
            assert await told.get() == (slow, quick)
        task.cancel()

    asyncio.run(main())


def test_a_name_is_looked_up_by_the_tunnel() -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork())
        async with tunnel_of(parish, 0, SECRET, addresses=("localhost:4500",)) as left:
            async with asyncio.timeout(20.0):
                while view(left).cathedral is None:
                    await asyncio.sleep(0.01)
            assert view(left).cathedral == Address("127.0.0.1", 4500)

    asyncio.run(main())


def test_closing_ends_a_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()

        async def look_up(*_: object, **__: object) -> list[Any]:
            asked.set()
            await asyncio.Event().wait()
            return []

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        parish = Parish(MemoryNetwork())
        async with tunnel_of(parish, 0, SECRET, addresses=("cathedral.example:4500",)) as left:
            async with asyncio.timeout(60.0):
                await asked.wait()
            assert "its name is being looked up" in str(left.status().problem)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_dead_cathedral_is_told_of_and_the_path_stays(tmp_path: Path) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork())
        left = tunnel_of(parish, 0, SECRET, remembrance=tmp_path / "remembrance")
        right = tunnel_of(parish, 1, SECRET)
        async with left, right:
            diary = Diary(left)
            async with parish.served():
                await both_ready(left, right)
                await until_direct(left, right)
            await asyncio.sleep(120.0)
            await left.send(b"still here")
            assert await right.receive() == b"still here"
            assert diary.happened(CathedralSilent)
            silent_s = view(left).silent_s
            assert silent_s is not None
            assert silent_s > 100.0
            left.network_changed()
            await asyncio.sleep(5.0)
            assert view(left).direct

    run_jumping(main())


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"addresses": "203.0.113.1:4500"}, "not one text"),
    ({"addresses": ()}, "no cathedral is named"),
    ({"addresses": ("203.0.113.1",)}, "give host:port"),
    ({"addresses": (":4500",)}, "give host:port"),
    ({"addresses": ("host:0",)}, "give host:port"),
    ({"addresses": ("[2001:db8::1]:4500",)}, "IPv4"),
    ({"addresses": tuple(f"host{n}:1" for n in range(33))}, "at most 32"),
    ({"identity": 0}, "identity"),
    ({"flock": 0}, "flock"),
    ({"tunnel": 1 << 16}, "tunnel"),
    ({"secret": bytes(31)}, "a cathedral secret has 32 bytes, not 31"),
    ({"cosk": bytes(32)}, "a COSK has 64 bytes, not 32"),
    ({"kek": "word"}, "str is no KEK"),
    ({"nat_port": -1}, "port"),
]


@pytest.mark.parametrize(("changes", "why"), WRONG)
def test_what_can_not_be_is_refused_at_once(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why.replace("[", r"\[")):
        Parish(MemoryNetwork()).of(0, **changes)


def test_a_tunnel_needs_a_port_and_a_secret() -> None:
    parish = Parish(MemoryNetwork())
    with pytest.raises(LocalProtocolError, match="give a port"):
        Tunnel(memory_pair()[0], SECRET, cathedral=parish.of(0))
    with pytest.raises(LocalProtocolError, match="a device with a KEK"):
        Tunnel(parish.network.port(LEFT), cathedral=parish.of(0))
    with pytest.raises(LocalProtocolError, match="a device with a KEK"):
        Tunnel(parish.network.port(RIGHT))
    with pytest.raises(LocalProtocolError, match="623 bytes at least"):
        Tunnel(parish.network.port(Address("a", 1)), SECRET, cathedral=parish.of(0), mtu=600)


def test_keys_do_not_show() -> None:
    cathedrals = Parish(MemoryNetwork()).of(0, kek=bytes(range(32)))
    shown = repr(cathedrals)
    assert all(word not in shown for word in ("secret=", "cosk=", "kek="))
    assert isinstance(cathedrals, Cathedrals)
    assert cathedrals.nat_port == NAT_PORT


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    occupied = tmp_path / "directory"
    occupied.mkdir()
    with pytest.raises(VaultError, match="directory: can't be replaced"):
        replace_file(occupied, b"new")
    with pytest.raises(VaultError, match="can't be replaced"):
        replace_file(tmp_path / "nowhere" / "file", b"new")
    assert sorted(tmp_path.iterdir()) == [occupied, path]

"""Whatever strangers send to a tunnel's port is counted by reason, and its traffic doesn't suffer.

The stranger is a third host of the network. Most of what it sends anybody could send; some takes
the shared secret, which a careless insider might have.
"""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.system import SystemSuite
from chancel.daemon.publish import DROP_LOG_INTERVAL_S
from chancel.lab.lab import Host, Lab
from chancel.protocol.offers import open_exchange_offer_untrusted, seal_exchange_offer
from chancel.wire import offer
from chancel.wire.drop import Drop
from chancel.wire.offer import ExchangeBody, KeyBody, OfferData, OfferState
from chancel.wire.types import NO_FLOCKS, FlockId, Flocks, InstanceId, Salt, SessionKey, Spi
from tests.e2e.ends import UP_LIMIT_S, End, Pair, eventually

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
PORT = 2300
OVERHEARD = 160
EACH = 60
FORGERIES = 900
RATE_PPS = 1500.0
STREAM_S, STREAM_PPS = 5.0, 200.0
LIMIT_S = 5.0

SUITE = SystemSuite()
RNG = random.Random(2300)


class Scene(NamedTuple):
    """The tunnel, the stranger, and what was heard of the tunnel at left's interface."""

    pair: Pair
    stranger: Host
    incoming: list[bytes]
    outgoing: list[bytes]

    def base(self) -> bytes:
        return base_key(SUITE, Purpose.PEER_OFFER, self.pair.key, NO_FLOCKS)

    def traffic(self) -> list[bytes]:
        """Traffic that left has taken, oldest first."""
        return [each for each in self.incoming if not each.startswith(offer.MAGIC)]

    def own_id(self) -> InstanceId:
        """Left's own instance id."""
        ours = next(each for each in self.outgoing if each.startswith(offer.MAGIC))
        return open_exchange_offer_untrusted(SUITE, self.base(), ours).body.id


@pytest.fixture(scope="module")
def scene(lab: Lab, folder: Path) -> Iterator[Scene]:
    left, right, stranger = (lab.host(name) for name in ("left", "right", "stranger"))
    pair = Pair(left, right, folder)
    network = lab.network("192.168.201.0/24")
    for host, address in ((left, pair.left.outer), (right, pair.right.outer)):
        network.join(host, address)
    network.join(stranger, "192.168.201.9")
    pair.configure(0, "1422")
    pair.left.start()  # first, so that it takes all that we hear
    eventually(lambda: "t0" in pair.left.tunnels(), UP_LIMIT_S, "left listens")
    hearing = left.start("tests.e2e.inside:overhear", "eth0", PORT, OVERHEARD)
    next(hearing.progress)
    pair.right.start()
    pair.wait_up()
    assert pair.left.ping(RIGHT, OVERHEARD, 0.005) == OVERHEARD
    heard = hearing.result()
    yield Scene(pair, stranger, *(datagrams(heard[way]) for way in ("in", "out")))
    assert pair.stop() == [0, 0]


PING_BYTES = 84 + 50
"""A ping's datagram, the largest of traffic while we listen."""


def datagrams(heard: list[str]) -> list[bytes]:
    """What was overheard: trains of offers cut as the kernel cuts them, those of traffic left out
    (a busy machine sends several pings at once)."""
    cut = [
        data[at : at + offer.OFFER_BYTES] if data.startswith(offer.MAGIC) else data
        for data in map(bytes.fromhex, heard)
        for at in range(0, len(data), offer.OFFER_BYTES if data.startswith(offer.MAGIC) else 65536)
    ]
    return [each for each in cut if each.startswith(offer.MAGIC) or len(each) <= PING_BYTES]


def header_changed(datagram: bytes, at: int, layout: str, value: int) -> bytes:
    """A datagram with one field of its header replaced."""
    changed = bytearray(datagram)
    struct.pack_into(layout, changed, at, value)
    return bytes(changed)


def numbered_anew(datagram: bytes) -> bytes:
    """A packet number that was never used, so that only the tag can tell."""
    number = int.from_bytes(datagram[8:16], "big") + 1_000_000
    return header_changed(header_changed(datagram, 8, ">Q", number), 4, ">I", number)


def body(**changes: Any) -> ExchangeBody:
    values: dict[str, Any] = {
        "id": InstanceId(RNG.getrandbits(64)),
        "spi": Spi(RNG.getrandbits(32) | 1),
        "salt": Salt(RNG.randbytes(4)),
        "state": OfferState.PK,
        "fragment": 0,
        "ecdh": RNG.randbytes(32),
        "kem": RNG.randbytes(392),
    }
    return ExchangeBody(**values | changes)


def forged(base: bytes, data: ExchangeBody | KeyBody, late_s: int = 0) -> bytes:
    """An offer as an insider would seal it."""
    at = OfferData(int(time.time()) - late_s, data)
    return seal_exchange_offer(SUITE, base, NO_FLOCKS, Spi(7), at, bytes(16))


def without_secret(scene: Scene) -> dict[Drop, Callable[[], bytes]]:
    """What anybody can make, by the reason for which it is refused."""
    stranger = base_key(SUITE, Purpose.PEER_OFFER, RNG.randbytes(32), NO_FLOCKS)
    flocks = Flocks(FlockId(0x1100), FlockId(0x2200))
    other_flock = base_key(SUITE, Purpose.PEER_OFFER, scene.pair.key, flocks)
    taken = scene.traffic()
    return {
        Drop.TOO_SHORT: lambda: RNG.choice(taken)[: RNG.randrange(50)],
        Drop.TOO_LONG: lambda: RNG.randbytes(RNG.randrange(1523, 4000)),
        Drop.ZERO_SPI: lambda: bytes(4) + RNG.randbytes(RNG.randrange(46, 1400)),
        Drop.SEQUENCE_MISMATCH: lambda: b"\x7f" + RNG.randbytes(RNG.randrange(49, 1471)),
        Drop.UNKNOWN_SPI: lambda: header_changed(RNG.choice(taken), 0, ">I", 0x7F000001),
        Drop.FLOCK_MISMATCH: lambda: header_changed(RNG.choice(taken), 16, ">Q", 0x1100),
        Drop.BAD_TAG: lambda: numbered_anew(RNG.choice(taken)),
        Drop.DUPLICATE: lambda: RNG.choice(taken),
        Drop.OFFER_TOO_SHORT: lambda: offer.MAGIC + RNG.randbytes(RNG.randrange(42, 615)),
        Drop.OFFER_BAD_TAG: lambda: forged(RNG.choice([stranger, other_flock]), body()),
    }


def with_secret(scene: Scene) -> dict[Drop, Callable[[], bytes]]:
    """What takes the secret."""
    base = scene.base()
    key = KeyBody(InstanceId(1), Salt(bytes(4)), SessionKey(bytes(32)))
    own_id = scene.own_id()
    return {
        Drop.OFFER_TIME: lambda: forged(base, body(), RNG.choice([11, 43, -3600])),
        Drop.OFFER_TYPE: lambda: forged(base, key),
        Drop.OFFER_OWN_ID: lambda: forged(base, body(id=own_id)),
        Drop.OFFER_ZERO_SPI: lambda: forged(base, body(spi=Spi(0))),
        Drop.OFFER_STATE: lambda: forged(base, body(state=3)),
        Drop.OFFER_FRAGMENT_RANGE: lambda: forged(base, body(fragment=4)),
    }


def drops(scene: Scene) -> Counter[Drop]:
    """Left's counters, with reasons that depend on the moment counted as one."""
    counted = Counter({Drop(name): n for name, n in scene.pair.left.drops("t0").items()})
    counted[Drop.DUPLICATE] += counted.pop(Drop.TOO_OLD, 0)
    return counted


def assert_refused(refused: Counter[Drop], thrown: Counter[Drop]) -> None:
    """Each for its reason; any offer may also be one too many for a busy chapel."""
    limited = refused.pop(Drop.OFFER_LIMIT, 0)
    assert not refused - thrown
    missing = thrown - refused
    assert missing.total() == limited
    assert all(str(reason).startswith("offer-") for reason in missing)


def wait_counted(scene: Scene, before: Counter[Drop], count: int) -> None:
    """Wait until that many more were refused."""
    eventually(
        lambda: drops(scene).total() >= before.total() + count, LIMIT_S, f"{count} are refused"
    )


def throw(scene: Scene, datagrams: list[bytes]) -> None:
    scene.stranger.call(
        "tests.e2e.inside:throw",
        [each.hex() for each in datagrams],
        scene.pair.left.outer,
        PORT,
        RATE_PPS,
    )


def assert_logged_once_in_a_while(end: End) -> None:
    lines = end.logged("packets dropped")
    counts = Counter(line.partition("reason=")[2].split()[0] for line in lines)
    assert {str(Drop.TOO_SHORT), str(Drop.BAD_TAG), str(Drop.OFFER_TIME)} <= set(counts)
    first, last = (time.strptime(line[:19], "%Y-%m-%d %H:%M:%S") for line in (lines[0], lines[-1]))
    intervals = 1 + int((time.mktime(last) - time.mktime(first)) / DROP_LOG_INTERVAL_S)
    # Two processes may refuse for one reason: chapel, and purgatory-rx when chapel is busy.
    assert max(counts.values()) <= 2 * intervals


def test_garbage_is_counted_and_traffic_goes_on_without_loss(scene: Scene) -> None:
    left, right = scene.pair.ends
    before, keys = drops(scene), left.tunnel("t0")["tx"]["spi"]
    receiving = [end.host.start("tests.e2e.inside:tally", 1) for end in (left, right)]
    for task in receiving:
        next(task.progress)
    sending = [
        end.host.start("tests.e2e.inside:stream", [target], STREAM_S, STREAM_PPS, [64, 1394, 500])
        for end, target in ((right, LEFT), (left, RIGHT))
    ]
    makers = without_secret(scene) | with_secret(scene)
    thrown = [(reason, make()) for reason, make in makers.items() for _ in range(EACH)]
    RNG.shuffle(thrown)
    throw(scene, [datagram for _, datagram in thrown])

    counts = [task.result() for task in sending]
    assert [task.result() for task in receiving] == [
        {source: {"packets": count, "highest": count - 1, "reordered": 0, "damaged": 0}}
        for source, count in zip((RIGHT, LEFT), counts, strict=True)
    ]
    wait_counted(scene, before, len(thrown))
    assert_refused(drops(scene) - before, Counter(reason for reason, _ in thrown))
    tunnel = left.tunnel("t0")
    assert (tunnel["peer"], tunnel["tx"]["spi"]) == (f"{right.outer}:{PORT}", keys)
    assert not left.logged("peer address")  # not even for a moment
    assert_logged_once_in_a_while(left)


def test_what_was_recorded_or_reflected_is_refused(scene: Scene) -> None:
    before = drops(scene)
    recorded = scene.incoming + scene.outgoing
    throw(scene, recorded)
    wait_counted(scene, before, len(recorded))
    more = drops(scene) - before
    offers = [each for each in recorded if each.startswith(offer.MAGIC)]
    reflected = len(recorded) - len(scene.traffic()) - len(offers)
    assert more[Drop.DUPLICATE] == len(scene.traffic())
    assert more[Drop.UNKNOWN_SPI] == reflected
    refused = (Drop.OFFER_OWN_ID, Drop.OFFER_ALREADY_DONE, Drop.OFFER_TIME, Drop.OFFER_LIMIT)
    assert sum(more[reason] for reason in refused) == len(offers)
    assert scene.pair.left.tunnel("t0")["peer"] == f"{scene.pair.right.outer}:{PORT}"


def test_a_flood_of_forged_offers_is_limited(scene: Scene) -> None:
    left = scene.pair.left
    before = drops(scene)
    throw(scene, [offer.MAGIC + RNG.randbytes(615) for _ in range(FORGERIES)])
    wait_counted(scene, before, FORGERIES)
    more = drops(scene) - before
    assert more[Drop.OFFER_BAD_TAG] + more[Drop.OFFER_LIMIT] == FORGERIES
    assert more[Drop.OFFER_LIMIT]
    assert left.ping(RIGHT) == 5

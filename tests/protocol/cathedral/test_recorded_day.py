"""What two cathedrals of the reference sent on a recorded day: ours send the same bytes.

The clients' requests were not all recorded, but follow from what was answered and passed on, since
their signatures are deterministic. Each cathedral draws what the reference drew.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import numpy as np

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.protocol.cathedral_offers import open_answer_untrusted, seal_request
from chancel.vault.secret import Secret
from chancel.wire.ambry import DEVICES, OWN, WRAPPED_BYTES
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Request
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferLayout
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId
from tests.protocol.cathedral_records import Recorded, address, answer, load, recorded

FLOCK = FlockId(0xCAFEBA00)
A, B = Address("10.77.0.1", 31337), Address("10.77.0.2", 1337)
CAFE, FECA = CathedralId(0x0BADF00D), CathedralId(0x000000FE)
SYNC = bytes.fromhex(load("cathedral_federation")["sync_secret"])
IDENTITIES = {
    CathedralId(int(each["cathedral_id"], 16)): each
    for each in load("cathedral_federation")["identities"]
}

ANSWERS = recorded("cathedral_info_reply")
AMBRIES = recorded("ambry_offer")
REMEMBRANCES = recorded("cathedral_remembrance")
LITURGIES = recorded("liturgy_reply")
FEDERATED = recorded("cathedral_federation")
FED_INFOS = [each for each in FEDERATED if each.fields["type"] == InfoBody.TYPE]
FED_PEERS = [each for each in FEDERATED if each.fields["type"] == PeerInfoBody.TYPE]
FED_LITURGIES = [each for each in FEDERATED if each.fields["type"] == LiturgyBody.TYPE]


class RecordedDraws(SeededSuite):
    """Draws what made these packets, in order, and then what it likes."""

    def __init__(self) -> None:
        super().__init__(b"recorded day")
        self._draws: list[bytes] = []

    def expect(self, *packets: Recorded) -> None:
        for packet in packets:
            drawn = packet.header.seed
            if packet.sync_secret is None:
                drawn += packet.raw("packet")[8:24] + packet.raw("extra")
            elif packet.fields["type"] == PeerInfoBody.TYPE:
                drawn += packet.raw("extra")
            self._draws.append(drawn)

    def skip(self) -> None:
        """The next packet was not recorded."""
        self._draws.append(b"")

    def random(self, size: int) -> bytes:
        drawn = self._draws.pop(0) if self._draws else b""
        assert len(drawn) in (0, size)
        return drawn or super().random(size)


class Keys:
    def __init__(self) -> None:
        self._secrets = {
            identity: Secret(bytes.fromhex(each["cathedral_secret"]))
            for identity, each in IDENTITIES.items()
        }

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        assert flock == FLOCK
        return self._secrets[identity]

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        return bytes.fromhex(IDENTITIES[identity]["cosk_public_32"])


class Reference:
    """A cathedral where one of the reference's stood."""

    def __init__(self, own: Address, bundle: Bundle | None = None) -> None:
        allows = (Allow(CAFE, 0xCA, 0), Allow(FECA, 0xFE, 0))
        settings = Settings({FLOCK: FlockSettings(FLOCK, allows, bundle)}, {}, (B, A))
        self.suite = RecordedDraws()
        options = Options(own, 1422, p2p_sync=True)
        self.cathedral = Cathedral(
            *(self.suite, options, Keys(), lambda: Secret(SYNC), settings, 0.0)
        )

    def sends(
        self, datagram: bytes, source: Address, wall: int, *packets: Recorded
    ) -> list[tuple[bytes, Address]]:
        """Give it a datagram: it sends these packets to where they went; what else is returned."""
        self.suite.expect(*packets)
        # The day began with the first client; the cathedral a little before.
        self.cathedral.receive(datagram, source, float(wall - 1795306700), float(wall))
        sent = self.cathedral.datagrams()
        wanted = [(each.raw("packet"), each.captured_to) for each in packets]
        assert sent[: len(wanted)] == wanted
        assert not self.cathedral.drops
        return sent[len(wanted) :]


def request(
    identity: CathedralId,
    body: Request,
    wall: int,
    flock: FlockId = FLOCK,
    layout: OfferLayout = CATHEDRAL,
) -> bytes:
    suite = SeededSuite(b"client")
    keys = IDENTITIES[identity]
    base = client_offer_base(suite, bytes.fromhex(keys["cathedral_secret"]), flock)
    cosk = bytes.fromhex(keys["cosk_secret_64"])
    return seal_request(suite, base, Flocks(flock, flock), identity, wall, body, cosk, layout)


def recorded_bundle() -> Bundle:
    """A whole bundle with the two entries that were handed out."""
    bodies = [answer(each.fields) for each in AMBRIES]
    known = {each.tunnel: each.wrapped for each in bodies if isinstance(each, AmbryBody)}
    header = bodies[0].header if isinstance(bodies[0], AmbryBody) else None
    assert header is not None

    def entries() -> Iterator[bytes]:
        for device in DEVICES:
            for peer in OWN.peers(device):
                for tunnel in (device << 8 | peer, peer << 8 | device):
                    wrapped = known.get(TunnelId(tunnel), bytes(WRAPPED_BYTES))
                    yield struct.pack("!QH", FLOCK, tunnel) + wrapped

    data = header.encode() + b"".join(entries())
    assert np.frombuffer(data, np.uint8).size == OWN.size
    return Bundle.decode_untrusted(data, (FLOCK, FLOCK), 1795306700.0, "recorded")


def test_a_tunnel_from_its_first_info_to_the_direct_path() -> None:
    here = Reference(A, recorded_bundle())
    one, other = address("10.77.0.11:52414"), address("10.77.0.12:53360")
    instance = InstanceId(int(FED_INFOS[0].fields["instance"], 16))
    generation = int(FED_INFOS[1].fields["ambry_generation"], 16)

    def cafe(wall: int, layout: OfferLayout = CATHEDRAL) -> bytes:
        adopted = generation if wall > 1795306788 else 0
        body = InfoBody(TunnelId(0xCAFE), instance, adopted, wants_remembrance=True)
        return request(CAFE, body, wall, layout=layout)

    def feca(wall: int, layout: OfferLayout = CATHEDRAL) -> bytes:
        adopted = generation if wall > 1795306795 else 0
        body = InfoBody(TunnelId(0xFECA), InstanceId(77), adopted, wants_remembrance=True)
        return request(FECA, body, wall, layout=layout)

    first = (REMEMBRANCES[0], AMBRIES[0], FED_INFOS[0], FED_PEERS[0])
    assert here.sends(cafe(1795306788), one, 1795306788, *first) == []
    again = (FED_INFOS[1], FED_PEERS[1])
    assert here.sends(cafe(1795306794), one, 1795306794, *again) == []
    second = (ANSWERS[0], REMEMBRANCES[1], AMBRIES[1])
    assert [to for _, to in here.sends(feca(1795306795), other, 1795306795, *second)] == [B, B]
    assert [to for _, to in here.sends(cafe(1795306799), one, 1795306799, ANSWERS[1])] == [B, B]
    here.sends(cafe(1795306804), one, 1795306804)
    here.sends(cafe(1795306804, NAT), one, 1795306804)
    [_, _, where] = here.sends(cafe(1795306809), one, 1795306809)
    assert where[1] == B
    here.sends(feca(1795306810), other, 1795306810)
    here.sends(feca(1795306810, NAT), other, 1795306810)
    assert [to for _, to in here.sends(cafe(1795306814), one, 1795306814, ANSWERS[2])] == [B, B]


def test_where_a_client_can_be_reached_is_told_when_it_is_known() -> None:
    """The third peer info of the recording."""
    here, source = Reference(A), address("10.77.0.11:52414")
    body = InfoBody(TunnelId(0xCAFE), InstanceId(1))
    for wall in (1795306788, 1795306804):
        here.sends(request(CAFE, body, wall), source, wall)
    here.sends(request(CAFE, body, 1795306804, layout=NAT), source, 1795306804)
    here.suite.skip()
    here.suite.expect(FED_PEERS[2])
    _, (where, to) = here.sends(request(CAFE, body, 1795306809), source, 1795306809)
    assert (where, to) == (FED_PEERS[2].raw("packet"), FED_PEERS[2].captured_to)


def test_a_remembrance_of_the_other_cathedral() -> None:
    there = Reference(B)
    body = InfoBody(TunnelId(0xFECA), InstanceId(1), wants_remembrance=True)
    wall = REMEMBRANCES[2].timestamp
    there.sends(request(FECA, body, wall), REMEMBRANCES[2].captured_to, wall, REMEMBRANCES[2])


def test_two_cathedrals_introduce_two_members() -> None:
    """Discovery: the hidden one is at the first cathedral, the visible one at the second."""
    here, there = Reference(A), Reference(B)
    domain = FlockId(FLOCK | 7)
    hidden = LiturgyBody(0xCA, 0xDEAD, hidden=True)
    visible = LiturgyBody(0xFE, 0xDEAD)
    one, other = (each.captured_to for each in LITURGIES[:2])

    # A remembrance comes first; it was not recorded.
    asking = dataclasses.replace(hidden, wants_remembrance=True)
    first = request(CAFE, asking, 1795307071, domain)
    here.suite.skip()
    here.suite.expect(FED_LITURGIES[0], LITURGIES[0])
    here.cathedral.receive(first, one, 371.0, 1795307071.0)
    remembrance, passed, answered = here.cathedral.datagrams()
    assert remembrance[1] == one
    assert passed == (FED_LITURGIES[0].raw("packet"), B)
    assert answered == (LITURGIES[0].raw("packet"), one)
    assert there.sends(passed[0], A, 1795307071) == []

    asking = dataclasses.replace(visible, wants_remembrance=True)
    second = request(FECA, asking, 1795307074, domain)
    there.suite.skip()
    there.suite.expect(FED_LITURGIES[1], LITURGIES[1])
    there.cathedral.receive(second, other, 374.0, 1795307074.0)
    _, passed, answered = there.cathedral.datagrams()
    assert passed == (FED_LITURGIES[1].raw("packet"), A)
    assert answered == (LITURGIES[1].raw("packet"), other)
    assert here.sends(passed[0], B, 1795307074) == []

    for at, member, body, record in (
        (here, CAFE, hidden, LITURGIES[2]),
        (there, FECA, visible, LITURGIES[3]),
    ):
        datagram = request(member, body, record.timestamp, domain)
        at.suite.skip()
        at.suite.expect(record)
        [_, answered] = at.sends(datagram, record.captured_to, record.timestamp)
        assert answered == (record.raw("packet"), record.captured_to)


def says(sent: tuple[bytes, Address], identity: CathedralId, flock: FlockId) -> object:
    suite = SeededSuite(b"client")
    secret = bytes.fromhex(IDENTITIES[identity]["cathedral_secret"])
    base = client_offer_base(suite, secret, flock)
    return open_answer_untrusted(suite, base, identity, sent[0]).body


def test_two_unknown_addresses_are_told_apart_from_the_recorded_answer() -> None:
    """There the reference takes them for the same (section 11); everything else is as it was."""
    here = Reference(A)
    domain = FlockId(FLOCK | 1)
    ends = ((CAFE, 0xCAFE, ANSWERS[3]), (FECA, 0xFECA, ANSWERS[4]))
    for wall in (1795307142, 1795307162):
        for identity, tunnel, record in ends:
            body = InfoBody(TunnelId(tunnel), InstanceId(1), skips_ambry=True)
            datagram = request(identity, body, wall, domain)
            sent = here.sends(datagram, record.captured_to, wall)
            if wall == 1795307162:
                recorded_answer = answer(record.fields)
                assert isinstance(recorded_answer, AnswerBody)
                assert recorded_answer.same_external_ipv4
                honest = dataclasses.replace(recorded_answer, same_external_ipv4=False)
                assert says(sent[0], identity, domain) == honest

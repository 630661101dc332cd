"""What was captured and comes again moves nobody; and a clock that is set right stops nobody."""

from __future__ import annotations

import pytest

from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, encode_local
from chancel.wire.types import Address, Spi
from tests.protocol.cathedral.parish import Parish, left, right


class TestReplays:
    """A captured info or probe, sent by somebody else (section 12)."""

    def test_it_moves_nobody(self) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(other)
        captured = one.info(parish.wall)
        parish.give(captured, one.address)
        thief = Address("192.0.2.66", 666)
        assert parish.refused(captured, thief) is Drop.OFFER_REPLAYED
        parish.after(3)
        assert parish.refused(captured, thief) is Drop.OFFER_REPLAYED
        parish.registers(one)
        assert parish.refused(captured, one.address) is Drop.OFFER_REPLAYED, "older than the last"
        [(_, to)] = parish.give(other.traffic(one.receiving or Spi(0)), other.address)
        assert to == one.address

    def test_a_device_that_moves_is_followed(self) -> None:
        parish, one = Parish(), left()
        parish.registers(one)
        parish.after(1)
        one.address = Address("198.51.100.99", 99)
        parish.registers(one)
        assert parish.drops == {}

    def test_a_captured_probe_spoils_no_detection(self) -> None:
        parish, one = Parish(), left()
        parish.registers(one)
        parish.after(20)
        parish.registers(one)
        captured = one.probe(parish.wall)
        parish.takes(captured, one.address)
        thief = Address("192.0.2.66", 666)
        assert parish.refused(captured, thief) is Drop.OFFER_REPLAYED
        other = right()
        parish.registers(other)
        parish.after(15)
        parish.registers(other)
        parish.give(other.probe(parish.wall), other.address)
        assert parish.registers(other) == [AnswerBody(one.address, encode_local(other.address))]

    def test_info_and_probe_of_one_moment_have_one_signature(self) -> None:
        parish, one = Parish(), left()
        parish.after(15)
        parish.registers(one)
        parish.takes(one.probe(parish.wall), one.address._replace(port=99))
        assert parish.drops == {}

    def test_somebody_elses_signed_words_in_another_domain(self) -> None:
        """The header isn't signed, but its flock makes the key."""
        parish, one = Parish(), left()
        datagram = bytearray(one.info(parish.wall))
        datagram[15] ^= 1
        assert parish.refused(bytes(datagram), one.address) is Drop.OFFER_BAD_TAG


class TestClocks:
    """Clients go on being served when a clock is set right."""

    @pytest.mark.parametrize("back", [1.0, 60.0, 86_400.0])
    def test_that_of_a_machine_with_both_on_it_steps_back(self, back: float) -> None:
        parish, one, other = Parish(), left(), right()
        parish.registers(one)
        parish.registers(other)
        parish.after(20)
        for device in (one, other):
            parish.registers(device)
            parish.give(device.probe(parish.wall), device.address)
            parish.give(device.liturgy(parish.wall), device.address)
        parish.wall_offset -= back
        for _ in range(3):
            parish.after(5)
            for device in (one, other):
                assert len(parish.registers(device)) == 1
                assert len(parish.answers(device, device.liturgy(parish.wall))) == 1
                parish.takes(device.probe(parish.wall), device.address)
        assert parish.drops == {}

    def test_a_step_of_one_second_costs_a_client_nothing(self) -> None:
        """Its infos are at least three seconds apart."""
        parish, one, other = Parish(), left(), right()
        parish.registers(other)
        for step in range(10):
            wall = parish.wall - step
            assert len(parish.answers(one, one.info(wall))) == 1
            parish.after(3.2)

    def test_two_devices_behind_one_address_in_one_second(self) -> None:
        """Each tells of a new SPI in the same second, and their messages of NAT detection too."""
        parish, one, other = Parish(), left(), right()
        other.address = Address(one.address.host, 5555)
        for count in range(1, 6):
            one.receiving = Spi(one.tunnel << 16 | count)
            other.pending = Spi(other.tunnel << 16 | count)
            for device in (one, other):
                assert len(parish.registers(device)) == (count > 1 or device is other)
                parish.takes(device.probe(parish.wall), device.address)
        assert parish.drops == {}

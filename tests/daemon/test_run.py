"""The form that runs have in a lane's token, and what a reader refuses to believe."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chancel.daemon.run import (
    MAX_PACKET_BYTES,
    MAX_RUN_PACKETS,
    MAX_RUNS,
    RUN_BYTES,
    Run,
    decode_runs,
    decode_token,
    encode_runs,
    encode_token,
    is_lone,
    pack_address,
    unpack_address,
)
from chancel.wire.types import Address

SLOT = 256 * 1024

honest = st.builds(
    Run,
    tunnel=st.integers(0, 0xFFFF),
    next=st.sampled_from([0, 0xFC]),
    packets=st.integers(1, 8),
    size=st.just(1474),
    last=st.integers(1, 1474),
    offset=st.integers(0, 100),
    source=st.binary(min_size=18, max_size=18),
)


@given(st.lists(honest, max_size=20))
def test_runs_survive_the_token(gaps: list[Run]) -> None:
    runs: list[Run] = []
    for run in gaps:  # one behind the other, with so much between them
        end = runs[-1].end if runs else 0
        runs.append(run._replace(offset=end + run.offset))
    token = encode_runs(runs)
    assert len(token) == len(runs) * RUN_BYTES
    assert decode_runs(memoryview(token), SLOT) == runs


@given(honest, st.integers(0, 255), st.booleans())
def test_a_token_of_one_run_is_what_a_token_of_many_begins_with(
    run: Run, slot: int, twice: bool
) -> None:
    runs = [run, run._replace(offset=run.end)] if twice else [run]
    token = encode_token(slot, runs)
    assert token == bytes((slot,)) + encode_runs(runs)
    assert decode_token(token, SLOT) == (slot, runs)
    with pytest.raises(ValueError, match="outside of its slot"):
        decode_token(token, runs[-1].end - 1)
    with pytest.raises(ValueError, match="odd length"):
        decode_token(token[:-1], SLOT)


def test_only_a_batch_of_one_packet_is_lone() -> None:
    one = Run(0, 0, 1, 60, 60, 0)
    assert is_lone([one])
    assert not is_lone([])
    assert not is_lone([one, one._replace(offset=60)])
    assert not is_lone([one._replace(packets=2)])


def test_the_end_is_behind_the_last_packet() -> None:
    assert Run(0, 0, 3, 100, 40, 7).end == 247
    assert Run(0, 0, 1, 40, 40, 7).end == 47


@pytest.mark.parametrize(
    "run",
    [
        Run(0, 0, 0, 100, 100, 200),
        Run(0, 0, MAX_RUN_PACKETS + 1, 20, 20, 200),
        Run(0, 0, 1, 100, 0, 200),
        Run(0, 0, 2, 100, 101, 200),
        Run(0, 0, 1, MAX_PACKET_BYTES + 1, MAX_PACKET_BYTES + 1, 200),
        Run(0, 0, 1, 100, 100, 99),
        Run(0, 0, 1, 100, 100, SLOT - 99),
        Run(0, 0, 3, 100, 100, SLOT - 299),
        Run(0, 0, 1, 100, 100, 2**32 - 1),
        Run(0, 0, 2, 0, 0, 200),
    ],
)
def test_a_run_outside_of_its_slot_is_refused(run: Run) -> None:
    token = encode_runs([Run(0, 0, 1, 100, 100, 0), run])
    with pytest.raises(ValueError, match="outside of its slot"):
        decode_runs(memoryview(token), SLOT)


@given(st.binary(max_size=4 * RUN_BYTES))
def test_hostile_tokens_are_refused_or_bounded(token: bytes) -> None:
    try:
        runs = decode_runs(memoryview(token), SLOT)
    except ValueError:
        return
    assert len(token) == len(runs) * RUN_BYTES
    for run in runs:
        assert 0 <= run.offset < run.end <= SLOT
        assert 0 < run.last <= run.size <= MAX_PACKET_BYTES
        assert 0 < run.packets <= MAX_RUN_PACKETS


def test_a_token_has_a_limit_at_both_ends() -> None:
    most = [Run(0, 0, 1, 100, 100, 100 * at, bytes(18)) for at in range(MAX_RUNS)]
    assert decode_runs(memoryview(encode_runs(most)), SLOT) == most
    with pytest.raises(ValueError, match="runs in one batch"):
        encode_runs([*most, most[0]])
    with pytest.raises(ValueError, match="odd length"):
        decode_runs(memoryview(encode_runs(most) + bytes(RUN_BYTES)), SLOT)
    with pytest.raises(ValueError, match="odd length"):
        decode_runs(memoryview(bytes(RUN_BYTES - 1)), SLOT)


zones = st.builds(
    lambda host, zone: f"{IPv6Address((0xFE80 << 112) + host)}%{zone}",
    st.integers(0, (1 << 64) - 1),
    st.integers(1, 0xFFFF_FFFF),
)


@given(st.one_of(st.ip_addresses().map(str), zones), st.integers(0, 0xFFFF))
@example("fe80::", 1)
@example("febf::1%4294967295", 1)
def test_addresses_survive_packing(host: str, port: int) -> None:
    ip = ip_address(host)
    assume(not host.startswith("::ffff:"))
    assume("%" in host or not ip.is_link_local or ip.packed[2:6] == bytes(4))
    packed = pack_address(Address(host, port))
    assert len(packed) == 18
    assert unpack_address(packed) == Address(host, port)


@given(st.binary(min_size=18, max_size=18))
def test_whatever_stands_in_a_packed_address_it_is_an_address(packed: bytes) -> None:
    address = unpack_address(packed)
    assert pack_address(address) == packed


def test_a_zone_means_nothing_to_other_addresses() -> None:
    packed = pack_address(Address("2001:db8::1%2", 7))
    assert unpack_address(packed) == Address("2001:db8::1", 7)

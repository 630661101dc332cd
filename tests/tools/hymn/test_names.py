"""Names of tunnels, as typed and as files are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import ConfigError
from chancel.tools.hymn.names import TunnelName

devices = st.integers(0, 255)
flocks = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters=":_."), min_size=1
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1-2", "hymn-01-02"),
        ("0x1-FF", "hymn-01-ff"),
        ("hymn-00a-01", "hymn-0a-01"),
        ("deadbeefcafebabe-1-liturgy", "deadbeefcafebabe-01-00"),
        ("deadbeefcafeba00:deadbeefcafebb00-1-3", "deadbeefcafeba00:deadbeefcafebb00-01-03"),
    ],
)
def test_names_in_full(text: str, name: str) -> None:
    assert str(TunnelName.parse(text)) == name
    assert TunnelName.of_file(name) == TunnelName.parse(text)
    assert TunnelName.of_file(text) is None or text == name


@given(flocks, devices, devices)
def test_every_name_is_read_back(flock: str, source: int, destination: int) -> None:
    name = TunnelName(flock, source, destination)
    assert TunnelName.parse(str(name)) == name == TunnelName.of_file(str(name))
    assert name.tunnel_id == source * 256 + destination
    assert len(name.instance) <= 15


@given(st.text(max_size=20))
def test_other_text_is_refused_or_a_name(text: str) -> None:
    try:
        name = TunnelName.parse(text)
    except ConfigError:
        return
    assert TunnelName.of_file(str(name)) == name
    assert "/" not in str(name)


@pytest.mark.parametrize("text", ["", "1", "300-1", "zz-1", "1-", "-1", "a-1-2-3", "../x-1-2"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        TunnelName.parse(text)


@pytest.mark.parametrize(
    ("flock", "numbers"),
    [
        ("hymn", (0, 0)),
        ("deadbeef", (0xDEADBEEF, 0xDEADBEEF)),
        ("0xDEADBEEF", (0xDEADBEEF, 0xDEADBEEF)),
        ("deadbeefcafeba00:1", (0xDEADBEEFCAFEBA00, 1)),
    ],
)
def test_flocks_are_numbers(flock: str, numbers: tuple[int, int]) -> None:
    assert TunnelName(flock, 1, 2).flocks() == numbers


@pytest.mark.parametrize("flock", ["dead", "dead:deadbeef", "xdeadbeef", "1" * 17, "deadbeef:"])
def test_text_that_is_no_flock(flock: str) -> None:
    with pytest.raises(ConfigError, match="expected 8 to 16 hex digits"):
        TunnelName(flock, 1, 2).flocks()

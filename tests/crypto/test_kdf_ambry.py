"""Wrapping, against bundles that the reference made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.system import SystemSuite
from chancel.wire.ambry import Header
from chancel.wire.types import FlockId, Flocks

VECTORS = Path(__file__).parents[1] / "vectors"
SUITE = SystemSuite()


def samples() -> list[Any]:
    found = []
    for name in ("ambry_bundle", "ambry_xflock_bundle"):
        vector = json.loads((VECTORS / f"{name}.json").read_text())
        header = Header(
            vector["header"]["expires_days"],
            int(vector["header"]["generation"], 16),
            bytes.fromhex(vector["header"]["seed"]),
        )
        found += [
            pytest.param(header, sample, id=f"{name}-{sample['index']}")
            for sample in vector["samples"]
        ]
    return found


def flocks_of(sample: dict[str, Any], domain: int = 0) -> Flocks:
    own, peer = (FlockId(int(sample[key], 16) | domain) for key in ("flock", "peer_flock"))
    return Flocks(own, peer)


@pytest.mark.parametrize(("header", "sample"), samples())
def test_entries_of_the_reference_open_and_come_out_the_same(
    header: Header, sample: dict[str, Any]
) -> None:
    flocks, tunnel = flocks_of(sample), int(sample["tunnel"], 16)
    derived = derived_kek(SUITE, bytes.fromhex(sample["kek"]), flocks)
    assert derived.hex() == sample["derived_kek"]
    wrapped = bytes.fromhex(sample["entry"])[10:]
    secret = bytes.fromhex(sample["unwrapped_secret"])
    wrapping = Wrapping(SUITE, header, flocks)
    assert wrapping.unwrap(derived, tunnel, wrapped) == secret
    assert wrapping.wrap(derived, tunnel, secret) == wrapped


def test_domains_make_no_difference() -> None:
    header, sample = samples()[0].values
    wrapped = bytes.fromhex(sample["entry"])[10:]
    flocks = flocks_of(sample, domain=7)
    derived = derived_kek(SUITE, bytes.fromhex(sample["kek"]), flocks)
    wrapping = Wrapping(SUITE, header, flocks)
    secret = wrapping.unwrap(derived, int(sample["tunnel"], 16), wrapped)
    assert secret.hex() == sample["unwrapped_secret"]


def test_the_order_of_flocks_counts_for_the_wrapping_alone() -> None:
    header, sample = samples()[-1].values
    own, peer = flocks_of(sample)
    kek, wrapped = bytes.fromhex(sample["kek"]), bytes.fromhex(sample["entry"])[10:]
    derived = derived_kek(SUITE, kek, Flocks(peer, own))
    assert derived.hex() == sample["derived_kek"]
    with pytest.raises(InvalidTag):
        Wrapping(SUITE, header, Flocks(peer, own)).unwrap(
            derived, int(sample["tunnel"], 16), wrapped
        )


@pytest.mark.parametrize("change", ["expires", "generation", "seed", "tunnel", "kek"])
def test_everything_is_bound_into_the_entry(change: str) -> None:
    header, sample = samples()[0].values
    values = {"expires": header.expires, "generation": header.generation, "seed": header.seed}
    tunnel, kek = int(sample["tunnel"], 16), bytes.fromhex(sample["kek"])
    match change:
        case "expires" | "generation":
            values[change] += 1
        case "seed":
            values["seed"] = bytes(64)
        case "tunnel":
            tunnel += 1
        case "kek":
            kek = bytes(32)
    flocks = flocks_of(sample)
    wrapping = Wrapping(SUITE, Header(**values), flocks)
    with pytest.raises(InvalidTag):
        wrapping.unwrap(
            derived_kek(SUITE, kek, flocks), tunnel, bytes.fromhex(sample["entry"])[10:]
        )

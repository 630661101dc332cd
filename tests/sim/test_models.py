"""Link models: what they promise, measured over many packets."""

from __future__ import annotations

import random

import pytest

from chancel.sim.models import REORDER_HOLD_S, LinkModel, corrupt

PACKETS = 20_000


def share(model: LinkModel) -> tuple[float, float, float]:
    """(lost, doubled, corrupted) as shares of the packets sent."""
    rng = random.Random(7)
    out = [model.deliveries(100, float(now), rng) for now in range(PACKETS)]
    copies = [delivery for deliveries in out for delivery in deliveries]
    return (
        sum(not deliveries for deliveries in out) / PACKETS,
        sum(len(deliveries) == 2 for deliveries in out) / PACKETS,
        sum(delivery.corrupted for delivery in copies) / max(1, len(copies)),
    )


def test_a_perfect_link_delivers_at_once_unchanged_in_order() -> None:
    model = LinkModel()
    assert model.perfect
    assert share(model) == (0.0, 0.0, 0.0)
    assert model.perfect, "use must not change what the model is"
    assert not LinkModel(loss=0.1).perfect


def test_loss_duplication_and_corruption_are_as_frequent_as_asked() -> None:
    lost, doubled, corrupted = share(LinkModel(loss=0.2, duplicate=0.1, corrupt=0.05))
    assert lost == pytest.approx(0.2, abs=0.01)
    assert doubled == pytest.approx(0.08, abs=0.01)
    assert corrupted == pytest.approx(0.05, abs=0.01)


def test_a_cut_cable_delivers_nothing() -> None:
    assert share(LinkModel(loss=1.0))[0] == 1.0


def test_latency_is_the_floor_and_jitter_spreads_without_reordering() -> None:
    model, rng = LinkModel(latency_s=0.1, jitter_s=0.05), random.Random(3)
    sent = [number / 1000 for number in range(2000)]
    arrived = [model.deliveries(100, now, rng)[0].at for now in sent]
    assert arrived == sorted(arrived)
    delays = [at - now for at, now in zip(arrived, sent, strict=True)]
    assert min(delays) >= 0.1
    assert max(delays) <= 0.15 + 1e-9


def test_reordering_lets_later_packets_overtake_by_a_bounded_time() -> None:
    model, rng = LinkModel(reorder=0.1), random.Random(3)
    sent = [number / 1000 for number in range(5000)]
    arrived = [model.deliveries(100, now, rng)[0].at for now in sent]
    held = sum(at > now for at, now in zip(arrived, sent, strict=True))
    assert held == pytest.approx(500, abs=100)
    assert max(at - now for at, now in zip(arrived, sent, strict=True)) <= REORDER_HOLD_S
    assert arrived != sorted(arrived)


def test_a_rate_spaces_packets_and_a_full_queue_loses_them() -> None:
    model, rng = LinkModel(rate_bytes_s=1000.0, queue_limit=350), random.Random(1)
    out = [model.deliveries(100, 0.0, rng) for _ in range(10)]
    assert [round(deliveries[0].at, 6) for deliveries in out[:4]] == [0.1, 0.2, 0.3, 0.4]
    assert all(not deliveries for deliveries in out[4:])
    assert model.deliveries(100, 10.0, rng)[0].at == pytest.approx(10.1)


def test_equal_seeds_give_equal_links() -> None:
    def run() -> list[object]:
        model = LinkModel(jitter_s=0.1, loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.1)
        rng = random.Random(42)
        return [model.deliveries(100, float(now), rng) for now in range(200)]

    assert run() == run()


def test_corruption_flips_exactly_one_bit() -> None:
    packet = bytes(40)
    damaged = corrupt(packet, random.Random(5))
    assert sum(byte.bit_count() for byte in damaged) == 1
    assert len(damaged) == 40


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.1}, {"corrupt": -0.1}, {"latency_s": -1.0}, {"rate_bytes_s": 0.0}],
)
def test_what_no_link_can_do_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        LinkModel(**wrong)  # type: ignore[arg-type]

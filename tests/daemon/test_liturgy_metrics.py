"""What a scraper is told of a liturgy."""

from __future__ import annotations

from chancel.daemon.liturgy_metrics import exposition
from tests.daemon.test_metrics import RECORDED, parsed, value

CHOIR = {
    "instance": "choir",
    "members": [1, 2, 0x1F],
    "joins": 7,
    "leaves": 5,
    "questions": 41,
    "answered_s": 2.5,
    "drops": {"liturgy-group": 3},
}
"""What of a liturgy's status is a metric; its tunnels are the recorded ones, of which one is up."""


def test_who_is_there_and_who_came() -> None:
    seen = parsed(exposition(RECORDED | {"liturgies": [CHOIR]}).decode())
    choir = {"liturgy": "choir"}
    assert value(seen, "liturgy_members", **choir) == 3
    assert value(seen, "liturgy_tunnels", **choir, state="up") == 1
    assert value(seen, "liturgy_tunnels", **choir, state="pending") == 1
    assert value(seen, "liturgy_joins_total", **choir) == 7
    assert value(seen, "liturgy_leaves_total", **choir) == 5
    assert value(seen, "liturgy_questions_total", **choir) == 41
    assert value(seen, "liturgy_answer_age_seconds", **choir) == 2.5
    assert value(seen, "liturgy_dropped_packets_total", **choir, reason="liturgy-group") == 3
    assert value(seen, "tunnel_up", tunnel="office") == 1, "those of tunnels stay as they are"


def test_nothing_is_told_of_an_answer_that_never_came() -> None:
    alone = CHOIR | {"answered_s": None, "members": [], "drops": {}}
    seen = parsed(exposition(RECORDED | {"liturgies": [alone]}).decode())
    assert value(seen, "liturgy_answer_age_seconds", liturgy="choir") is None
    assert value(seen, "liturgy_members", liturgy="choir") == 0

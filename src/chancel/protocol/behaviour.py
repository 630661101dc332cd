"""Where implementations of one protocol version differ, as values.

Two ends with different behaviours understand each other: each value only decides what an end does
with what it knows. ``CHANCEL`` is ours. ``REFERENCE`` is what the reference daemon does, faults
included, so that simulations and tests can put it on the other side; ``REFERENCE_0_9`` is its
release 0.9.20. ``KYRKA`` is what the reference's library does, and ``LIBRARY`` what our module of
the same name does: the same as far as a program can see, without the states that end in silence.
"""

from __future__ import annotations

import dataclasses
from typing import Final


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an end does with what it knows."""

    replay_window: int
    """Width of the replay window in packets. Wider than the peer's is compatible."""
    keep_window_on_promotion: bool
    """Whether a receive key that comes into use keeps what its window has seen (section 9)."""
    straggler_s: float
    """For how long a replaced receive key still opens packets that were under way."""
    receive_key_limit_s: float | None
    """The age at which a receive key is erased, in use or not."""
    receive_keys: int
    """Receive keys kept at once; only a peer with the secret adds to them, one for each exchange.
    With a single one, a new key replaces the old at once."""
    limit_slack: int
    """By how many packets, or seconds, a receive key must exceed its limit before another exchange
    starts; 0 where reaching it is enough."""

    step_when_woken: bool
    """Whether offers leave only when the exchange is woken, and a wake does one thing: it starts an
    exchange, or transmits, or ends one."""
    end_with_last_transmission: bool
    """Whether an exchange ends with its last transmission, instead of an interval later."""
    answer_at_once: bool
    """Whether the peer's complete key is answered at once instead of at the next transmission."""
    answer_repeated_key: bool
    """Whether a key that was answered before is answered again while the peer repeats it."""
    late_answer_interval_s: float | None
    """How often an answer that the peer has not used is still sent after its exchange is over, to
    a peer in the trap of section 7.1, which waits without a word."""
    transmit_while_peer_uses_key: bool
    """Whether our own key is repeated, and given up in time, once the peer sends under our receive
    key although its ciphertext never came (the trap of section 7.1)."""
    retry_unfinished: bool
    """Whether an exchange that brought a receive key but no sending key is followed by another."""
    pair_ciphertext_by_header: bool
    """Whether a ciphertext is paired with the peer's SPI that its header names, rather than with
    the one that our exchange happened to answer last."""
    discard_mixed_fragments: bool
    """Whether a partial set of fragments is dropped when the peer begins another."""
    notice_restart: bool
    """Whether a key of another instance of the peer replaces a running exchange."""
    resync_on_wrong_spi: bool
    """Whether an answer to a key that we no longer offer makes an exchange begin anew."""
    resync_unanswered: bool
    """Whether it does so even before the peer's key is complete and answered."""
    resync_delay_s: float
    """How long after that the new exchange begins."""
    restart_on_new_spi: bool
    """Whether a new key of the same peer makes an exchange begin anew (section 7.5)."""
    settle_s: float
    """The age below which an exchange isn't given up for what the peer may have sent before it
    could see it."""
    pause_after_failures: bool
    """Whether there is a pause after some failed exchanges, rather than always another one."""
    pause_only_when_silent: bool
    """Whether the pause after failed exchanges is left out while the peer is evidently alive."""
    watch_peer: bool
    """Whether the peer's silence matters: it starts an exchange, and in the end erases all keys."""
    watch_clock: bool
    """Whether a jump of the wall clock makes us another instance (section 7.5)."""
    renew_id_when_giving_up: bool
    """Whether we are another instance to the peer once we have erased all keys: a peer that ignores
    keys of the same instance, as the reference may, then takes part in the next exchange."""
    proves_paths: bool
    """Whether traffic moves to an address of the peer only once it was proved, whatever a cathedral
    says, so that this one may tell us of any."""
    refuse_repeated_offers: bool
    """Whether an offer that was taken once is refused when it comes again (section 7.6)."""

    announce_ahead_s: float
    """For how long a pilgrim announces a new key, each second, before it uses it instead of the
    last one: nothing is lost by the change, not even if a few announcements are."""

    def one_way(self) -> Behaviour:
        """The same for the receiver of a one-way tunnel, who hears of a key again and again, but
        can't ask for one. So no key is erased for its age as long as it is the newest in use, and
        one that was replaced is kept for as long as a sender may use it: then an old announcement
        that comes late, or is held back by somebody, displaces nothing.
        """
        return dataclasses.replace(
            self,
            straggler_s=_ONE_WAY_STRAGGLER_S if self.straggler_s else 0.0,
            receive_key_limit_s=None,
        )


_ONE_WAY_STRAGGLER_S = 3620.0
"""Longer than any key is sent with."""


CHANCEL: Final = Behaviour(
    replay_window=1024,
    keep_window_on_promotion=True,
    straggler_s=10.0,
    receive_key_limit_s=3620.0,
    receive_keys=8,
    limit_slack=0,
    step_when_woken=False,
    end_with_last_transmission=False,
    answer_at_once=True,
    answer_repeated_key=True,
    late_answer_interval_s=5.0,
    transmit_while_peer_uses_key=True,
    retry_unfinished=True,
    pair_ciphertext_by_header=True,
    discard_mixed_fragments=True,
    notice_restart=True,
    resync_on_wrong_spi=True,
    resync_unanswered=True,
    resync_delay_s=0.0,
    restart_on_new_spi=True,
    settle_s=4.0,
    pause_after_failures=True,
    pause_only_when_silent=True,
    watch_peer=True,
    watch_clock=True,
    renew_id_when_giving_up=True,
    proves_paths=True,
    refuse_repeated_offers=True,
    announce_ahead_s=5.0,
)

REFERENCE: Final = Behaviour(
    replay_window=64,
    keep_window_on_promotion=False,
    straggler_s=0.0,
    receive_key_limit_s=None,
    receive_keys=2,
    limit_slack=0,
    step_when_woken=False,
    end_with_last_transmission=False,
    answer_at_once=False,
    answer_repeated_key=False,
    late_answer_interval_s=None,
    transmit_while_peer_uses_key=False,
    retry_unfinished=False,
    pair_ciphertext_by_header=False,
    discard_mixed_fragments=False,
    notice_restart=True,
    resync_on_wrong_spi=True,
    resync_unanswered=True,
    resync_delay_s=0.0,
    restart_on_new_spi=False,
    settle_s=0.0,
    pause_after_failures=True,
    pause_only_when_silent=False,
    watch_peer=True,
    watch_clock=True,
    renew_id_when_giving_up=False,
    proves_paths=False,
    refuse_repeated_offers=False,
    announce_ahead_s=0.0,
)

REFERENCE_0_9: Final = dataclasses.replace(
    REFERENCE, notice_restart=False, resync_on_wrong_spi=False
)
"""Release 0.9.20 of the reference, where it differs beyond its protocol (section 15)."""

KYRKA: Final = dataclasses.replace(
    REFERENCE,
    receive_keys=1,
    limit_slack=1,
    step_when_woken=True,
    end_with_last_transmission=True,
    resync_unanswered=False,
    resync_delay_s=5.0,
    pause_after_failures=False,
    watch_peer=False,
    watch_clock=False,
)
"""The reference's library. It reads a clock of whole seconds; what it does about silence is the
program's business."""

LIBRARY: Final = dataclasses.replace(
    KYRKA,
    transmit_while_peer_uses_key=True,
    retry_unfinished=True,
    discard_mixed_fragments=True,
    refuse_repeated_offers=True,
)
"""Our module ``libkyrka``."""

"""What a simulated pair goes through, as one value: all of it, so that it can be repeated."""

from __future__ import annotations

import dataclasses
import enum
import shlex

from chancel.protocol.behaviour import CHANCEL, REFERENCE, REFERENCE_0_9, Behaviour
from chancel.protocol.profile import CURRENT, V0_9, Profile
from chancel.sim.models import LinkModel


class Kind(enum.StrEnum):
    """Which implementation's behaviour an end shows."""

    CHANCEL = "chancel"
    REFERENCE = "reference"


class Version(enum.StrEnum):
    """Which version of the protocol both ends speak."""

    CURRENT = "current"
    LEGACY = "0.9"

    @property
    def profile(self) -> Profile:
        """The protocol floor's value."""
        return CURRENT if self is Version.CURRENT else V0_9

    @property
    def reference(self) -> Behaviour:
        """How the reference of that version behaves."""
        return REFERENCE if self is Version.CURRENT else REFERENCE_0_9


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """Two ends for ``hours``; equal scenarios give equal runs, event for event.

    Probabilities are per packet. ``fragment_loss`` hits only offers, in addition to ``loss``.
    With ``restarts`` either end loses power every few hours, with ``skew`` the two wall clocks
    differ by up to 9 s (release 0.9: 4 s) and are set to the right time once on the way. With
    ``nat``, a name in ``NAT_TYPES``, the left end is behind such a router and the right one waits
    for it (``peer auto``). With ``tunnels`` the ends are :class:`~chancel.tunnel.Tunnel` objects,
    each in an event loop of its own, and else the bare sessions inside them.
    """

    seed: int = 1
    hours: float = 24.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    fragment_loss: float = 0.0
    latency_s: float = 0.02
    jitter_s: float = 0.01
    restarts: bool = False
    skew: bool = False
    payload_every_s: float = 60.0
    nat: str | None = None
    kinds: tuple[Kind, Kind] = (Kind.CHANCEL, Kind.CHANCEL)
    version: Version = Version.CURRENT
    tunnels: bool = False

    def behaviour(self, side: int) -> Behaviour:
        """That of the left (0) or right (1) end."""
        return CHANCEL if self.kinds[side] is Kind.CHANCEL else self.version.reference

    def link(self) -> LinkModel:
        """A fresh link for one direction."""
        return LinkModel(
            latency_s=self.latency_s,
            jitter_s=self.jitter_s,
            loss=self.loss,
            duplicate=self.duplicate,
            reorder=self.reorder,
            corrupt=self.corrupt,
        )

    @property
    def up_bound_s(self) -> float:
        """How soon after both ends are powered each must hear the other.

        One exchange is two rounds of four fragments, repeated each second until none is missing,
        and an attempt that dies is followed by the next after 16 s. The bounds leave less than
        one chance in a million per start. An end that waits for its peer comes back only with the
        peer's next attempt, which may be pausing for a minute.
        """
        worst = 1 - (1 - self.loss) * (1 - self.fragment_loss) * (1 - self.corrupt)
        wait_s = 62.0 if self.nat is not None else 0.0
        if worst == 0:
            return wait_s + 6.0
        return wait_s + (20.0 if worst <= 0.1 else 50.0)

    def command(self) -> str:
        """The command line that repeats this run."""
        words = ["chancel", "sim", "pair"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default and field.name != "seed":
                continue
            option = f"--{field.name.removesuffix('_s').replace('_', '-')}"
            if field.name == "kinds":
                words += ["--behaviour", ",".join(value)]
            elif field.name == "version":
                words += ["--profile", value]
            elif value is True:
                words.append(option)
            else:
                words += [option, str(value)]
        return shlex.join(words)

"""How soon a new bundle of secrets is in the hands of all devices of a flock, in virtual time.

One device has a tunnel to each of the 254 others. All registered long before; then all cathedrals
load a bundle at the same moment. An end asks each five seconds (cathedral section 2.2), and ours
send what is new unasked, too (``protocol.cathedral.ambries``).
"""

from __future__ import annotations

from typing import Final

from chancel.protocol.registration_events import AmbryAdopted
from chancel.protocol.session_types import SessionEvent
from chancel.sim.models import LinkModel
from chancel.sim.parish import Parish
from chancel.sim.parish_device import TunnelEnd
from chancel.sim.parish_plan import Hall, Plan, Resident
from chancel.sim.scenario_events import Word

DEVICES: Final = 255
"""All that a bundle has secrets for."""

LIMIT_S: Final = 5.0 + 2.0
"""One interval of infos, and two seconds."""

_SETTLED_S, _WATCHED_S = 20.0, 12.0
_HALLS = 2


def roll_over(loss: float, seed: int) -> list[float]:
    """Seconds from the bundle to each end that has it, in order; ``loss`` of what anybody sends.

    Those that didn't get it are not in the list, which has two for each tunnel.
    """
    link = LinkModel(latency_s=0.02, jitter_s=0.01, loss=loss)
    residents = tuple(
        Resident(f"d{n}", 0, n + 1, "public", (n % _HALLS,), link) for n in range(DEVICES)
    )
    halls = tuple(Hall(f"c{n}", link) for n in range(_HALLS))
    hub = tuple((0, other) for other in range(1, DEVICES))
    parish = Parish(Plan(seed, halls, residents, hub, ambry=True))
    parish.start()
    parish.run(_SETTLED_S)
    begun, times = parish.clock.now, list[float]()

    def heard(_end: TunnelEnd, event: SessionEvent, _word: Word | None) -> None:
        if isinstance(event, AmbryAdopted) and event.generation == parish.generation:
            times.append(parish.clock.now - begun)

    parish.listeners.append(heard)
    parish.roll()
    parish.run(_WATCHED_S)
    parish.close()
    return times

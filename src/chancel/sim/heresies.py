"""All heresies by name, and how a mixture of them is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from chancel.protocol.cathedral.bundle import Bundle
from chancel.sim import heresies_said as said
from chancel.sim.heresies_carried import (
    Cuts,
    Deaf,
    Delays,
    Drops,
    Flips,
    Reflects,
    Repeats,
    Replays,
    Splices,
)
from chancel.sim.heresies_federated import Floods, LiesOfPlaces, Misplaces, RepeatsClients
from chancel.sim.heresies_said import Ambries, Lies, Names
from chancel.sim.heretic import Heresy

VICTIMS: Final = ("192.0.2.201", "192.0.2.202", "198.51.100.203")
"""Machines that have nothing to do with any of it."""

Bundles = Sequence[Bundle]
"""All that a heretic ever had to serve, the newest last; more may come."""

CARRIED: Final[Mapping[str, Callable[[], Heresy]]] = MappingProxyType(
    {
        "drops": Drops,
        "drops-some": lambda: Drops(0.5),
        "drops-one-way": lambda: Drops(one_way=True),
        "drops-offers": lambda: Drops(traffic=False),
        "drops-traffic": lambda: Drops(offers=False),
        "deaf": Deaf,
        "half-deaf": lambda: Deaf(0.5),
        "delays": lambda: Delays(0.0, 3.0),
        "delays-long": lambda: Delays(5.0, 120.0),
        "reorders": lambda: Delays(0.0, 0.5, 0.5),
        "repeats": Repeats,
        "replays": Replays,
        "replays-offers": lambda: Replays(offers_alone=True),
        "replays-elsewhere": lambda: Replays(elsewhere=True),
        "reflects": Reflects,
        "flips": Flips,
        "splices": Splices,
        **{f"cuts-{after}": functools.partial(Cuts, after) for after in (0, 2, 4, 6, 8, 12, 20)},
    }
)
"""About what clients send each other."""

SAID: Final[Mapping[str, Callable[[], Heresy]]] = MappingProxyType(
    {
        "silent": said.Silent,
        "babbles": said.Babbles,
        "wrong-times": said.WrongTimes,
        "flags": said.Flags,
        "hides-peers": said.HidesPeers,
        "answers-for-the-dead": said.AnswersForTheDead,
        "nonsense": said.TalksNonsense,
        "lies-victims": lambda: Lies(said.a_victim(VICTIMS)),
        "lies-one-victim": lambda: Lies(said.one_victim(VICTIMS)),
        "lies-odd": lambda: Lies(said.an_odd_one),
        "lies-self": lambda: Lies(said.its_own),
        "lies-anybody": lambda: Lies(said.anybody),
        "lies-to-one": lambda: Lies(said.a_victim(VICTIMS), one_end=True),
        "lies-hastily": lambda: Lies(said.a_victim(VICTIMS), hasty=True),
        "relays-alone": lambda: Lies(said.the_cathedral, flags=False),
        "names-itself": lambda: Names(said.itself),
        "names-victims": lambda: Names(said.victims_as_cathedrals(VICTIMS)),
        "names-clients": lambda: Names(said.clients_as_cathedrals),
    }
)
"""About what clients are told."""

AMBRIES: Final[Mapping[str, Callable[[Bundles], Heresy]]] = MappingProxyType(
    {
        "withholds-ambries": lambda _bundles: Ambries(said.withheld),
        "old-ambries": lambda bundles: Ambries(said.older(bundles)),
        "old-ambries-to-one": lambda bundles: Ambries(said.older(bundles), one_end=True),
        "swaps-ambries": lambda bundles: Ambries(said.swapped(bundles)),
        "alters-ambries": lambda bundles: Ambries(said.altered(bundles)),
        "invents-ambries": lambda _bundles: Ambries(said.invented),
    }
)
"""About the secrets that they are handed."""

FEDERATED: Final[Mapping[str, Callable[[], Heresy]]] = MappingProxyType(
    {
        "lies-of-places": LiesOfPlaces,
        "repeats-clients": RepeatsClients,
        "floods": Floods,
        "misplaces": Misplaces,
    }
)
"""Against other cathedrals."""

NAMES: Final = (*CARRIED, *SAID, *AMBRIES, *FEDERATED)


def hide_peers(heresies: Sequence[Heresy]) -> bool:
    """Whether a client can't tell a cathedral with all of these from an honest one at which its
    peer is not. One that is silent is given away by its silence, unless another heresy breaks it.
    """
    is_silent = any(isinstance(each, said.Silent) for each in heresies)
    return any(each.hides_peers or (is_silent and each.speaks_unasked) for each in heresies)


def made(names: Iterable[str], bundles: Bundles) -> list[Heresy]:
    """These heresies, fresh. Raises ``KeyError`` for a name that there isn't."""
    makers = {**CARRIED, **SAID, **FEDERATED}
    return [AMBRIES[each](bundles) if each in AMBRIES else makers[each]() for each in names]

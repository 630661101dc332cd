"""A timeline as the story leaves it, without the story."""

from __future__ import annotations

from chancel.demo.timeline import Change, Echo, Event, Flow, Keys, Mood, Rekey, State, Timeline

EVENTS = [
    Event(0.1, "two cathedrals <started>", Mood.NOTE),
    Event(3.1, "tunnel up", Mood.GOOD),
    Event(20.8, "peer to peer", Mood.GOOD),
    Event(24.9, "east killed", Mood.BAD),
    Event(29.2, "west killed: none is left", Mood.BAD),
    Event(44.9, "west back, with new ambries", Mood.NOTE),
    Event(58.2, "new secret, generation bb0a2e50", Mood.GOOD),
]
DEVICES = ("left", "right")
EXCHANGES_S = (3.0, 15.0, 27.0, 38.0, 59.0)
LOST = range(40)
"""Of the pings, ten in a second."""


def parish() -> Timeline:
    """Two cathedrals die, one comes back with new ambries."""
    timeline = Timeline(start=0.0, events=list(EVENTS))
    timeline.echoes += [Echo(i / 10, None if i in LOST else 0.001 + i * 1e-5) for i in range(750)]
    timeline.flows += [Flow(4 + i / 4, 4.25 + i / 4, 20_000_000 + i * 9_000) for i in range(280)]
    alive, dead = State.ALIVE, State.DEAD
    timeline.lanes["east"] = [Change(0.1, alive), Change(24.9, dead)]
    timeline.lanes["west"] = [Change(0.1, alive), Change(29.2, dead), Change(44.9, alive)]
    for device in DEVICES:
        timeline.lanes[device] = [Change(1.2, State.RELAYED), Change(20.3, State.DIRECT)]
        timeline.rekeys += [Rekey(at, device, Keys.EXCHANGE) for at in EXCHANGES_S]
        timeline.rekeys += [Rekey(at, device, Keys.AMBRY) for at in (1.3, 58.0)]
    return timeline

"""Who has a tunnel: whatever is said, a few come or go in a second, and who is alive stays."""

from __future__ import annotations

import itertools

from chancel.daemon.liturgy_roll import LOOK_S, RETRY_S, SILENT_S, STEP_S, Roll

OWN = 0x0A
START = 1000.0


class Ministry:
    """A roll, and the tunnels that it made; time goes from one due moment to the next."""

    def __init__(self) -> None:
        self.now = START
        self.tunnels: set[int] = set()
        self.alive: set[int] = set()
        self.refused: set[int] = set()
        self.steps: list[tuple[float, str, int]] = []
        self.roll = Roll(OWN, self._begin, self._end, lambda device, _since: device in self.alive)

    def _begin(self, device: int) -> bool:
        self.steps.append((self.now, "begin", device))
        if device in self.refused:
            return False
        assert device not in self.tunnels
        self.tunnels.add(device)
        return True

    def _end(self, device: int) -> None:
        self.steps.append((self.now, "end", device))
        self.tunnels.remove(device)

    def say(self, *devices: int) -> None:
        """An answer comes."""
        self.roll.told(frozenset(devices), self.now)

    def run(self, seconds: float, *answers: int, quiet: bool = False) -> None:
        """Let time pass, with an answer every five seconds that names the same, or with none."""
        until, answer_at = self.now + seconds, self.now
        while True:
            due = self.roll.wake_at()
            at = max(self.now, until if due is None else min(due, until))
            if not quiet and answer_at <= at:
                self.now = max(self.now, answer_at)
                self.say(*answers)
                answer_at += 5.0
                continue
            self.now = at
            if at >= until:
                return
            self.roll.wake(at)


def test_who_is_named_gets_a_tunnel_one_after_the_other() -> None:
    ministry = Ministry()
    ministry.run(10.0, 7, 3, 0xFE)
    assert [device for _, _, device in ministry.steps] == [3, 7, 0xFE]
    times = [at for at, _, _ in ministry.steps]
    assert [later - before for before, later in itertools.pairwise(times)] == [STEP_S] * 2
    assert ministry.roll.wake_at() is None


def test_ourselves_and_impossible_devices_are_nobody() -> None:
    ministry = Ministry()
    ministry.run(10.0, 0, OWN, 255)
    assert ministry.steps == []


def test_who_is_alive_stays_and_who_is_silent_goes() -> None:
    ministry = Ministry()
    ministry.run(10.0, 1, 2)
    ministry.alive = {1}
    ministry.run(SILENT_S + 2 * LOOK_S, *())
    assert ministry.tunnels == {1}
    ministry.alive = set()
    ministry.run(2 * LOOK_S, *())
    assert ministry.tunnels == set()
    assert ministry.roll.wake_at() is None


def test_one_that_has_just_begun_has_time_to_come_up() -> None:
    ministry = Ministry()
    ministry.run(1.0, 1)
    ministry.run(SILENT_S - 2.0, *())
    assert ministry.tunnels == {1}


def test_nothing_happens_while_no_answer_comes() -> None:
    ministry = Ministry()
    ministry.run(SILENT_S + 5.0, 1, 2)
    ministry.alive = {1, 2}
    ministry.say(1)
    ministry.run(2 * LOOK_S, quiet=True)
    ministry.alive = set()
    ministry.run(600.0, quiet=True)
    assert ministry.tunnels == {1, 2}
    ministry.run(2 * LOOK_S, 1)
    assert ministry.tunnels == {1}


def test_who_is_named_again_stays() -> None:
    ministry = Ministry()
    ministry.run(SILENT_S + 5.0, 1)
    for _ in range(10):
        ministry.say()
        ministry.say(1)
        ministry.run(2 * LOOK_S, 1)
    assert [what for _, what, _ in ministry.steps] == ["begin"]


def test_a_tunnel_that_cannot_be_made_is_tried_again_and_holds_nobody_up() -> None:
    ministry = Ministry()
    ministry.refused = {1}
    ministry.run(RETRY_S - 1.0, 1, 2)
    assert ministry.tunnels == {2}
    assert [device for _, _, device in ministry.steps] == [1, 2]
    ministry.refused = set()
    ministry.run(RETRY_S, 1, 2)
    assert ministry.tunnels == {1, 2}


def test_a_flood_of_joins_and_leaves_is_bounded() -> None:
    """Ten thousand changes a second: a few steps, the same memory, and everybody in the end."""
    ministry = Ministry()
    everybody = frozenset(range(256))
    for number in range(10_000):
        ministry.now += 0.01
        ministry.roll.told(everybody if number % 2 else frozenset(), ministry.now)
        due = ministry.roll.wake_at()
        if due is not None and due <= ministry.now:
            ministry.roll.wake(ministry.now)
    assert len(ministry.steps) <= 100.0 / STEP_S + 1
    ends = [(at, device) for at, what, device in ministry.steps if what == "end"]
    begun = {device: at for at, what, device in reversed(ministry.steps) if what == "begin"}
    assert all(at >= begun[device] + SILENT_S for at, device in ends)
    ministry.run(60.0, *everybody)
    assert ministry.tunnels == set(range(1, 255)) - {OWN}

"""The demonstration: two devices find each other through cathedrals, and then need none.

In the lab, with the real daemons: each device is behind a NAT of its own, two federated cathedrals
are in public. A ping that never stops, a bulk transfer; the cathedrals are killed one by one, and
one comes back with new ambries. ``story`` tells it and judges it, ``timeline`` is what was observed
(by ``watching``, and by ``talk`` on the wire), ``screen`` shows it while it happens, ``picture``
draws it afterwards. ``parish`` builds the networks and writes all files, with the keys that
``sacristy`` makes. Tests and benchmarks build theirs with these two as well, and ``play`` has the
``programs`` that they name perform in it.
"""

from chancel.demo.story import DemoError, run

__all__ = ["DemoError", "run"]

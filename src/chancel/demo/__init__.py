"""The demonstration: one tunnel's life in half a minute, live, and as a picture at the end.

Two hosts of the lab, each with the real daemon; a ping that never stops; a bulk transfer; one side
killed without warning and started again. ``story`` tells it and judges it, ``timeline`` is what was
observed, ``screen`` shows it while it happens, ``picture`` draws it afterwards.
"""

from chancel.demo.story import DemoError, run

__all__ = ["DemoError", "run"]

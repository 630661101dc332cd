"""A liturgy whose tunnels come and go all the time: ``python -m tests.e2e.hasty -c FILE``.

As ``hurried``, but nothing is waited for any more, nor is the first ambry: for a test that counts
what becomes of a thousand joins and leaves.
"""

from __future__ import annotations

import sys

from tests.e2e import hurried

hurried.TIMERS["chancel.protocol.registration_pace"] |= {
    "INFO_INTERVAL_S": 0.25,
    "INFO_SPACING_S": 0.2,
}
hurried.TIMERS["chancel.protocol.switch"]["AMBRY_PATIENCE_S"] = 0.01
hurried.TIMERS["chancel.daemon.liturgy_roll"] = {"STEP_S": 0.01, "SILENT_S": 0.1, "LOOK_S": 0.05}

if __name__ == "__main__":
    hurried.main(sys.argv[1:])

"""How long a worker's process may take to begin and to end; none outlives its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

START_S = 30.0
CLOSE_S = 8.0
"""After SIGTERM: the journal is flushed, connections are closed."""
_PR_SET_PDEATHSIG = 1


def tie_to_parent() -> Callable[[], None] | None:
    """Runs in the child first: SIGKILL when the parent dies. Elsewhere than on Linux the
    worker sees the end of the control line instead."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie

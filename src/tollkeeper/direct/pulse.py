"""Whether a silent peer is still there.

A gateway that crashed, or whose network is gone, closes nothing; its connection would be one of our
bound for ever.
"""

from __future__ import annotations

from typing import Final

from tollkeeper.direct.frames import Kind, write_frame

QUESTION: Final = write_frame(Kind.PING, 0, 0, b"anybody?")


class Pulse:
    """Of one peer. ``heard`` is set by whoever reads from it; one that says nothing for ``quiet_s``
    is asked, and is ``lost`` when it says nothing for as long again."""

    def __init__(self, quiet_s: float, now_s: float) -> None:
        self.heard = False
        self.lost = False
        self._quiet_s = quiet_s
        self._since_s = now_s
        self._asked = False

    def look(self, now_s: float) -> bytes:
        """What is to be sent to the peer, mostly nothing; to be called now and then."""
        if self.heard:
            self.heard = self._asked = False
            self._since_s = now_s
        if now_s - self._since_s <= self._quiet_s:
            return b""
        self._since_s = now_s
        self.lost = self._asked
        self._asked = True
        return QUESTION

"""Leases, as their holders and the hot copy speak of them.

A lease is a share of an account that one worker holds in advance, to admit requests from memory.
The hot copy holds it as it holds a reservation, so what is leased is available to nobody else. What
was admitted from it becomes reservations of the hot copy a moment later; what is left goes back
when it is not used any more, when somebody is short of it, and when its life is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec

from billing.reservations import Hold

PART = 8
"""A lease takes at most one part in so many of what is left of any budget, and leaves the rest."""

CALL_BACK_MS = 250
"""How long a request that is short waits for leases to come back: twice as long as their holders
need to hear of it."""

PAUSE_MS = 1_000
"""How long after a call-back no lease of the account is granted."""


class Step(IntEnum):
    """What a call does to a lease besides taking note of what was admitted from it."""

    KEEP = 0
    OPEN = 1
    CLOSE = 2


class LeaseCall(msgspec.Struct, frozen=True):
    """What a holder tells of one lease, and what it wants.

    ``number`` counts the calls of a lease: one that was made already is not made again. ``wanted``
    is for how many more requests like ``hold``, which says the amounts of one, the bounds and the
    rate. ``draws`` are the holds that were admitted since the last call. ``expires_s`` is when the
    last of them is over, and the lease with it where nobody closes it (Unix seconds). Of a rate,
    ``turns`` are left in the lease, and those that it has after the call may come until
    ``until_us`` (Unix time).
    """

    lease_id: str
    number: int
    step: Step
    wanted: int
    hold: Hold
    expires_s: int
    draws: Sequence[Hold] = ()
    turns: int = 0
    until_us: int = 0


class Leased(NamedTuple):
    """What a call did: for how many requests more the lease is, and what the account has left
    besides. ``full_us`` is when the burst is whole again; 0 without a rate, and where the turns
    that are left could not be had for longer. ``called_back`` asks to close the lease."""

    granted: int
    available_nanos: int
    full_us: int = 0
    called_back: bool = False

"""Every bound of the front door, with its unit, its default and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectoryLimits:
    """How much the directory remembers, how long it may be believed, how long it waits.

    ``max_known`` bounds remembered keys (a million take about 300 MiB), ``max_ready`` those of them
    that are unpacked (about 2 KiB each), ``max_unknown`` the keys that are known not to exist.

    ``unknown_ttl_s``: a key that was created just now is tried again after this, also when nobody
    told us. ``max_age_s``: an entry is read again after this even if no change was told, which
    bounds the harm of a connection that died without a word. ``stale_max_s``: how long an entry is
    still served after it stopped being sure, while Postgres is away; a minute outlasts a restart or
    a failover of Postgres. ``recheck_s``: how long an entry lives that was read while nobody
    listened to the stream of changes.

    ``query_deadline_s`` bounds one query, ``lookup_deadline_s`` one request's wait for it;
    ``retry_s`` is the pause between two attempts while Postgres is away. ``max_query_keys`` bounds
    one query, ``max_waiting`` the keys that wait for one, ``max_changed`` the accounts whose change
    is remembered one by one; beyond it everything is read again.
    """

    max_known: int = 1_000_000
    max_ready: int = 16_384
    max_unknown: int = 65_536
    unknown_ttl_s: float = 5.0
    max_age_s: float = 300.0
    stale_max_s: float = 60.0
    recheck_s: float = 1.0
    query_deadline_s: float = 0.4
    lookup_deadline_s: float = 0.5
    retry_s: float = 0.25
    max_query_keys: int = 500
    max_waiting: int = 10_000
    max_changed: int = 10_000

    def __post_init__(self) -> None:
        counts = (self.max_known, self.max_ready, self.max_unknown, self.max_query_keys)
        if min(*counts, self.max_waiting, self.max_changed) < 1:
            raise ValueError("every count of the directory's limits must be at least 1")


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """Bounds of the checks of one worker.

    ``max_in_flight``: at 5 000 checks a second this is a fifth of a second of them; more would only
    wait past Envoy's own timeout. ``reserve_deadline_s`` is above what it takes to build an
    account's hot copy; together with the directory's ``lookup_deadline_s`` it stays below Envoy's
    timeout (1 s as rendered). ``max_message_bytes`` holds a body of 4 MiB with its headers.
    """

    max_in_flight: int = 1_024
    reserve_deadline_s: float = 0.4
    max_message_bytes: int = 5 << 20

    def __post_init__(self) -> None:
        if min(self.max_in_flight, self.max_message_bytes) < 1 or self.reserve_deadline_s <= 0:
            raise ValueError("every limit of a check must be above 0")

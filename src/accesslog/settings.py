"""What this package can be told, each limit with its unit and the reason of its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from billing.errors import ConfigError

Fsync = Literal["never", "segment", "append"]
FullPosture = Literal["hold", "mark"]

MIB = 1 << 20
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How entries are judged.

    ``usage_headers`` maps response headers (lower case) that Envoy logs to usage fields.
    ``max_age_s``: an entry whose request was admitted earlier is left to a person, because its
    reservation may no longer be there to show that it was settled before (30 days).
    ``max_ahead_s``: clocks of two machines may differ; a ticket further in the future than this was
    not made now (one hour, far beyond any clock that is watched). ``max_price_nanos``: no request
    costs more than 1 000 USD; above it a fault of the upstream is more likely than a price.
    ``forged_per_minute``: how many entries with a forged ticket are kept for a person; the rest is
    counted only (1 000, so that a wrong secret cannot fill the database).
    """

    usage_headers: Mapping[str, str] = field(
        default_factory=lambda: {
            "x-litellm-response-cost": "reported_cost",
            "x-tool-cpu-ms": "cpu_ms",
            "x-tool-memory-mib": "memory_mib",
        }
    )
    max_age_s: int = 30 * DAY_S
    max_ahead_s: int = 3_600
    max_price_nanos: int = 1_000 * 10**9
    forged_per_minute: int = 1_000


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """The queue on disk between the stream and Postgres.

    ``max_bytes``: 1 GiB holds about two million entries. ``segment_bytes``: the unit in which space
    is given back (16 MiB, a sixty-fourth of the bound). ``window_bytes``: what is also kept in
    memory so that a settler that keeps up never reads from disk (16 MiB, seconds of traffic).
    ``fsync``: ``never`` leaves writing back to the kernel, which a crash of the process survives
    and a loss of power does not (then the JSON log file is replayed); ``segment`` syncs each
    finished segment, ``append`` every message, at a disk's write latency each. ``when_full``:
    ``hold`` stops reading, so that Envoy keeps entries up to its own buffer and health says
    NOT_SERVING; ``mark`` drops entries, counted and reported with their times, to be replayed from
    the log file. ``adopt_interval_s``: how often spools of settlers that are gone are looked for
    (5 s: listing a few directories, and soon enough for reservations that live for minutes).
    """

    max_bytes: int = 1024 * MIB
    segment_bytes: int = 16 * MIB
    window_bytes: int = 16 * MIB
    fsync: Fsync = "never"
    when_full: FullPosture = "hold"
    adopt_interval_s: float = 5.0

    def __post_init__(self) -> None:
        if self.segment_bytes < 4096 or self.max_bytes < 4 * self.segment_bytes:
            raise ConfigError("a spool needs segments of 4 KiB or more and room for four of them")


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """Batches and what happens when one fails.

    ``batch_entries``: 2 000 entries share one transaction; larger ones gain nothing and hold locks
    longer. ``batch_wait_s``: how long a batch waits for more entries (50 ms: less than the second
    within which credits should be back). ``first_backoff_s`` and ``max_backoff_s`` bound the wait
    before the next try while Postgres is away: one second at most, so that settlement follows its
    return at once, and one connection a second does not hinder its start. ``patience_tries``: how
    often a batch that fails as a whole, for no reason of the store's, is tried before its entries
    are put aside. ``systemic_entries``: when so many entries fail one by one and none succeeds, the
    fault is not in the entries, so they are kept.
    """

    batch_entries: int = 2_000
    batch_wait_s: float = 0.05
    first_backoff_s: float = 0.05
    max_backoff_s: float = 1.0
    patience_tries: int = 3
    systemic_entries: int = 16


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """Promises to tell the hot copy.

    ``interval_s``: how often promises are looked at (1 s: within it a balance that was not told
    should be). ``promise_age_s``: how old an open promise must be before it is kept for another
    settler (5 s: one that lives strikes its own out every second). ``promise_batches``: most kept
    in one round. ``kept_batches``: most told batches that wait to be struck out; more are told
    twice. ``call_accounts``: accounts that one call tells of (256, about 3 ms of Redis), so that
    checks do not wait behind a whole batch and the call stays within its deadline.
    """

    interval_s: float = 1.0
    promise_age_s: float = 5.0
    promise_batches: int = 100
    kept_batches: int = 10_000
    call_accounts: int = 256


@dataclass(frozen=True, slots=True)
class ExpireSettings:
    """The ends of reservations whose entry never came.

    ``interval_s``: how often to look (5 s; lifetimes are minutes). ``batch_entries``: most in one
    transaction. ``hold_off_s``: while entries wait in the spool, reservations that ended since the
    oldest of them came in are left pending, because their entry may be there; after ten minutes
    they expire all the same, so that no fault of settlement can hold credits for ever.
    """

    interval_s: float = 5.0
    batch_entries: int = 1_000
    hold_off_s: int = 600


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The gRPC server.

    ``max_message_bytes``: Envoy sends a whole buffer (64 MiB as rendered) as one message, and one
    entry may come on top, so 80 MiB. ``max_streams``: one per Envoy worker thread; 1 000 is far
    above any fleet of one sink. ``chunk_entries``: entries that are parsed and spooled before other
    tasks may run, so that health checks are answered while a large message is taken in (500, about
    5 ms). ``keepalive_s``: how often a silent connection is probed, so that a dead peer's stream
    ends within a minute. ``health_interval_s``: how often health follows the spool, as often as
    Envoy asks. ``drain_notice_s``: how long health says NOT_SERVING before streams are ended:
    Envoy checks every 0.1 s, but its threads may hear of a change a second later (it merges changes
    of a cluster that come within ``update_merge_window``), and until then they open streams to a
    sink that is gone and lose what they send (measured). ``drain_idle_s``: a stream is ended right
    after its next message, because then Envoy has just emptied its buffer; or after so long without
    one.
    """

    max_message_bytes: int = 80 * MIB
    max_streams: int = 1_000
    chunk_entries: int = 500
    keepalive_s: int = 30
    health_interval_s: float = 0.1
    drain_notice_s: float = 1.5
    drain_idle_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """Reading log files.

    ``batch_lines``: lines of one transaction and of one report of progress. ``max_line_bytes``: a
    longer line is garbage (1 MiB; a ticket has at most 16 KiB). ``trial_lines``: when none of the
    first 100 lines is an entry, the file is no log of ours. ``reported_lines``: how many bad lines
    are named one by one. ``bookmarks``: of how many files the place is remembered, newest first.
    """

    batch_lines: int = 2_000
    max_line_bytes: int = MIB
    trial_lines: int = 100
    reported_lines: int = 100
    bookmarks: int = 1_000


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """All of the back door. ``drain_s``: longest time to settle what is in hand after SIGTERM."""

    judge: JudgeSettings = field(default_factory=JudgeSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    settle: SettleSettings = field(default_factory=SettleSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)
    expire: ExpireSettings = field(default_factory=ExpireSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    drain_s: float = 10.0

"""What an entry means for its reservation: the table of docs/settlement.md, row by row.

The first row whose conditions all hold decides. The last row has none, so every entry has an
outcome. Whether a billed request named its usage is found out by its meter, afterwards:
``NO_USAGE`` is what becomes of it then.

Three facts of Envoy stand behind the rows. A response code of 0 says that no answer began
(access log operator RESPONSE_CODE). An attempt count of 0 says that no upstream was ever tried
(UPSTREAM_REQUEST_ATTEMPT_COUNT). A flag of a failed attempt is kept only when it was not retried.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from accesslog.flags import flags_of
from accesslog.values import Entry
from billing.ledger import Outcome

Action = Literal["extend", "release", "bill", "unknown"]
"""Extend the reservation, end it without a charge, price it, or end it with an unknown cost."""

TURNED_AWAY = flags_of("RL", "RLSE", "UAEX")
CLIENT_GONE = flags_of("DC", "DR")
BROKEN_OFF = flags_of("LR", "UT", "UR", "UF", "UC", "SI", "DPE", "UMSDR", "DT", "UPE", "OM")
MANY = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its name, what it does, and its conditions (``None`` and 0 ask for nothing).

    ``attempts`` is how often the upstream was tried, ``MANY`` standing for more than once.
    """

    name: str
    meaning: str
    action: Action
    outcome: Outcome
    ongoing: bool | None = None
    any_flag: int = 0
    attempts: int | None = None
    codes: range | None = None
    reports_usage: bool | None = None

    def holds(self, ongoing: bool, flags: int, attempts: int, code: int, usage: bool) -> bool:
        """Whether all conditions hold."""
        return (
            (self.ongoing is None or self.ongoing == ongoing)
            and (not self.any_flag or bool(self.any_flag & flags))
            and (self.attempts is None or self.attempts == min(attempts, MANY))
            and (self.codes is None or code in self.codes)
            and (self.reports_usage is None or self.reports_usage == usage)
        )


TABLE = (
    Row("still_running", "entry of a stream that goes on", "extend", "answered", ongoing=True),
    Row(
        "turned_away",
        "refused by the rate limiter or by authorization",
        "release",
        "not_answered",
        any_flag=TURNED_AWAY,
    ),
    Row(
        "never_sent",
        "no upstream was tried: none healthy, no route, answered by Envoy, or the client left",
        "release",
        "not_answered",
        attempts=0,
    ),
    Row(
        "left_waiting",
        "the upstream was at work and no answer had begun: nobody knows what it cost",
        "unknown",
        "no_usage",
        codes=range(1),
    ),
    Row(
        "upstream_failed",
        "the upstream failed, or Envoy in its place, before an answer began",
        "release",
        "not_answered",
        codes=range(500, 1000),
    ),
    Row(
        "upstream_refused",
        "the upstream would not do it and named no usage",
        "release",
        "not_answered",
        codes=range(400, 500),
        reports_usage=False,
    ),
    Row(
        "client_gone",
        "the client left in the middle of the answer: what was produced is billed",
        "bill",
        "cut_short",
        any_flag=CLIENT_GONE,
    ),
    Row(
        "broken_off",
        "the answer broke off or ran out of time: what was produced is billed",
        "bill",
        "cut_short",
        any_flag=BROKEN_OFF,
    ),
    Row("retried", "answered after retries: billed once", "bill", "answered", attempts=MANY),
    Row("answered", "answered", "bill", "answered"),
)

NO_USAGE = Row("no_usage", "answered, and its meter found no usable usage", "unknown", "no_usage")


def decide(entry: Entry) -> Row:
    """The first row that holds for the entry."""
    attempts = min(entry.attempts, MANY)
    return _decide(entry.ongoing, entry.flags, attempts, entry.code, entry.reports_usage)


@lru_cache(maxsize=4096)  # nearly all traffic is a handful of combinations
def _decide(ongoing: bool, flags: int, attempts: int, code: int, usage: bool) -> Row:
    return next(row for row in TABLE if row.holds(ongoing, flags, attempts, code, usage))

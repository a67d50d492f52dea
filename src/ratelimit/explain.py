"""Why a descriptor is answered as it is; for ``tollkeeper ratelimit explain DIR domain
key=value``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ratelimit.algorithms import Group, Mode
from ratelimit.describe import described_limit
from ratelimit.descriptors import Descriptor, Entry
from ratelimit.errors import InvalidRequest
from ratelimit.metrics import Metrics
from ratelimit.rules import RuleSet
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.protocol import CounterStore
from ratelimit.turns import Placer, Terms, Turn


@dataclass(frozen=True)
class Explanation:
    """Which rule, which counter, and what one more hit would be answered."""

    verdict: str  # unknown_domain, no_rule, unlimited, ok, over_limit, ok_in_shadow_mode
    rule: str = ""
    place: str = ""  # file:line
    limit: str = ""
    counter: str = ""
    remaining: int | None = None
    reset_s: int | None = None

    def fields(self) -> dict[str, Any]:
        """For JSON; what does not apply is left out."""
        return {name: value for name, value in asdict(self).items() if value not in {"", None}}


def parse_entries(words: Sequence[str]) -> tuple[Entry, ...]:
    """``key=value`` words; a word without ``=`` is a key without a value."""
    entries = []
    for word in words:
        key, _, value = word.partition("=")
        if not key:
            raise InvalidRequest(f"expected key=value, not '{word}'")
        entries.append((key, value))
    if not entries:
        raise InvalidRequest("expected at least one key=value")
    return tuple(entries)


async def explain(
    rules: RuleSet,
    store: CounterStore,
    settings: RateLimitSettings,
    domain_name: str,
    descriptor: Descriptor,
    *,
    now_us: int,
) -> Explanation:
    """Look at the store without counting. Raises :class:`ratelimit.errors.StoreUnavailable`."""
    domain = rules.domains.get(domain_name)
    if domain is None:
        return Explanation("unknown_domain")
    terms = Terms(settings.key_prefix, settings.quota_mode, settings.descriptor_size_max_bytes, 1)
    match = domain.match(descriptor)
    rule = match.rule if match else None
    name = f"{domain.name}.{rule.label}" if rule else ""
    place = f"{rule.file}:{rule.line}" if rule else ""
    (turn,) = Placer(domain, terms, Metrics(0)).placed([descriptor], now_us)
    if not isinstance(turn, Turn):
        verdict = "unlimited" if rule else "no_rule"
        return Explanation(verdict, name, place)
    group = Group([turn.draw], Mode.LOOK, domain.all_or_nothing or settings.all_or_nothing)
    (seen,) = await store.draw(group)
    taken = 0 if seen.over else turn.draw.cost
    turn.reading = seen._replace(after=seen.before + taken)
    status = turn.status(quota_mode=settings.quota_mode)
    shadowed = turn.reading.over and not status.over
    verdict = "over_limit" if status.over else "ok_in_shadow_mode" if shadowed else "ok"
    return Explanation(
        verdict,
        name,
        place,
        described_limit(turn.limit),
        turn.draw.key,
        status.remaining,
        status.reset_s,
    )

"""The story of one request: every decision and every wait of the turnstile, top to bottom.

domain known?  ->  which rules apply  ->  known to be over already?  ->  draw the counters
(or, while they are away, the declared answer)  ->  remember and count  ->  the decision
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ratelimit.algorithms import Consume, Draw, Group, Mode, Reading, Role
from ratelimit.decision import NO_LIMIT, NO_LIMIT_QUOTA, Decision, concluded
from ratelimit.descriptors import Descriptor, LimitRequest
from ratelimit.errors import InvalidRequest, StoreUnavailable
from ratelimit.fallback import Fallback
from ratelimit.metrics import Metrics
from ratelimit.overlimit_cache import OverLimitCache
from ratelimit.rules import Domain, RuleSet
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.protocol import CounterStore
from ratelimit.turns import Placed, Placer, Terms, Turn
from ratelimit.waiting import wait_us


class Limiter:
    """Decides about requests by the rules in force. ``clock_us`` is the time that windows
    follow.
    """

    def __init__(
        self,
        store: CounterStore,
        fallback: Fallback,
        settings: RateLimitSettings,
        metrics: Metrics,
        *,
        clock_us: Callable[[], int],
    ) -> None:
        self.rules = RuleSet({})
        self._store = store
        self._fallback = fallback
        self._settings = settings
        self._metrics = metrics
        self._clock_us = clock_us
        self._cache = OverLimitCache(
            settings.over_limit_cache_entries_max, settings.over_limit_cache_ttl_ms * 1000
        )
        self._terms = Terms(
            settings.key_prefix,
            settings.quota_mode,
            settings.descriptor_size_max_bytes,
            settings.placements_max,
        )
        self._placers: Mapping[str, Placer] = {}
        metrics.gauges["over_limit_cache_entries"] = lambda: len(self._cache)
        metrics.gauges["over_limit_cache_pushed_out"] = lambda: self._cache.pushed_out

    def take_rules(self, rules: RuleSet) -> None:
        """From the next request on, these are in force; requests under way finish with theirs."""
        self._metrics.rules_changed((domain.name, rule.label) for domain, rule in rules.rules())
        self._placers = {
            name: Placer(domain, self._terms, self._metrics)
            for name, domain in rules.domains.items()
        }
        self.rules = rules
        self._cache.clear()

    async def decide(self, request: LimitRequest) -> Decision:
        """Count the request and answer it.

        Raises :class:`InvalidRequest` for a request without a domain or descriptors, and
        :class:`StoreUnavailable` only for a domain whose declared answer is an error.
        """
        self._check(request)
        domain = self.rules.domains.get(request.domain)
        if domain is None:
            self._metrics.events["domain_not_found"] += 1
            return self._decision([NO_LIMIT] * len(request.descriptors))
        now_us = self._clock_us()
        placed = self._placers[domain.name].placed(request.descriptors, now_us)
        turns = [turn for turn in placed if isinstance(turn, Turn)]
        mode = self._mode(domain)
        if NO_LIMIT_QUOTA in placed:
            mode = Mode.EACH  # a quota that is never used up: the request cannot be refused
        self._settle_known(turns, mode, now_us)
        asked = [turn for turn in turns if turn.reading is None]
        if mode == Mode.ALL_OR_NONE and len(asked) < len(turns):
            mode = Mode.LOOK
        if asked:
            await self._draw(domain, asked, mode)
        for turn in turns:
            self._count(turn)
        return self._decision(placed)

    async def correct(
        self,
        domain_name: str,
        descriptors: Sequence[Descriptor],
        delta_hits: int,
        drawn_us: int | None = None,
    ) -> None:
        """Draw ``delta_hits`` more in any case, or give that many back when negative.

        ``drawn_us`` is when the hits that are given back were drawn: they return to that time's
        window, and to none when it is over. Each descriptor's own ``hits`` are not looked at.
        Raises :class:`StoreUnavailable`.
        """
        domain = self.rules.domains.get(domain_name)
        if domain is None:
            self._metrics.events["domain_not_found"] += 1
            return
        now_us = self._clock_us()
        placed = self._placers[domain.name].placed(descriptors, now_us)
        turns = [turn for turn in placed if isinstance(turn, Turn)]
        for turn in turns:
            self._cache.forget(turn.draw.key)
            then_us = now_us if drawn_us is None else drawn_us
            turn.draw = turn.limit.correction(turn.counter, delta_hits, now_us, then_us)
        if turns:
            self._metrics.events["corrections"] += len(turns)
            draws = [turn.draw for turn in turns]
            await self._store.draw(Group(draws, Mode.EACH, self._mode(domain) != Mode.EACH))

    def _check(self, request: LimitRequest) -> None:
        if not request.domain:
            raise InvalidRequest("rate limit domain must not be empty")
        if not request.descriptors:
            raise InvalidRequest("rate limit descriptor list must not be empty")
        most = self._settings.descriptors_max
        if len(request.descriptors) > most:
            raise InvalidRequest(f"more than {most} descriptors")

    def _mode(self, domain: Domain) -> Mode:
        whole = domain.all_or_nothing or self._settings.all_or_nothing
        return Mode.ALL_OR_NONE if whole else Mode.EACH

    def _settle_known(self, turns: Sequence[Turn], mode: Mode, now_us: int) -> None:
        """Give a reading to the turns that need not be asked about, since they are over anyway.

        Where all or none is taken, only those are settled so that decide about the request.
        """
        for turn in turns:
            draw = turn.draw
            if turn.too_large:
                self._metrics.events["descriptor_too_large"] += 1
                turn.blocked_us = wait_us(draw, _full(draw.capacity), draw.scale)
            elif _may_be_known(draw, mode):
                turn.blocked_us = self._cache.blocked_us(draw.key, draw.capacity, now_us)
            if turn.blocked_us:
                turn.reading = _full(draw.capacity)

    async def _draw(self, domain: Domain, asked: Sequence[Turn], mode: Mode) -> None:
        together = self._mode(domain) == Mode.ALL_OR_NONE
        try:
            readings = await self._store.draw(Group([turn.draw for turn in asked], mode, together))
        except StoreUnavailable as fault:
            self._fallback.answer(domain, asked, mode, fault)
            return
        for turn, reading in zip(asked, readings, strict=True):
            turn.reading = reading
            draw = turn.draw
            if reading.over:
                wait = wait_us(draw, reading, draw.scale)
                self._cache.remember(draw.key, draw.capacity, draw.now_us, wait)
            elif draw.cost < 0:
                self._cache.forget(draw.key)

    def _count(self, turn: Turn) -> None:
        reading, draw, hits = turn.reading, turn.draw, turn.hits
        assert reading is not None
        if turn.corrects:
            self._metrics.events["corrections"] += 1
            return
        counts, ratio = turn.counts, self._settings.near_limit_ratio
        before, limit = reading.before // draw.scale, draw.capacity // draw.scale
        counts.total += hits
        if not reading.over:
            counts.kept(hits, before, limit, ratio)
            return
        over = hits
        if turn.blocked_us:
            counts.exceeded_unasked(hits)
        else:
            counted = reading.after != reading.before
            over = counts.exceeded(hits, before, limit, ratio, counted=counted)
        if draw.role in {Role.SHADOW, Role.SHADOW_QUOTA}:
            counts.shadow_mode += over

    def _decision(self, placed: Sequence[Placed]) -> Decision:
        quota_mode = self._settings.quota_mode
        statuses = [
            turn.status(quota_mode=quota_mode) if isinstance(turn, Turn) else turn
            for turn in placed
        ]
        over = concluded(statuses)
        if over and self._settings.shadow_mode:
            self._metrics.events["global_shadow_mode"] += 1
            over = False
        self._metrics.answers["OVER_LIMIT" if over else "OK"] += 1
        return Decision(over, statuses)


def _may_be_known(draw: Draw, mode: Mode) -> bool:
    if draw.cost <= 0 or draw.consume == Consume.CORRECTION:
        return False
    return mode == Mode.EACH or draw.role == Role.PLAIN


def _full(capacity: int) -> Reading:
    return Reading(over=True, before=capacity, after=capacity, current=0, previous=0)

"""A limiter over rules that stand in the test, with a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from ratelimit.decision import Decision
from ratelimit.descriptors import Descriptor, LimitRequest, Override
from ratelimit.fallback import Fallback
from ratelimit.limiter import Limiter
from ratelimit.metrics import Metrics
from ratelimit.rule_files import load_texts
from ratelimit.rules import RuleSet
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.protocol import CounterStore
from ratelimit.units import SECOND_US

# A Monday, at the start of a minute, an hour and a day.
T0_US = 1_699_833_600 * SECOND_US


@dataclass
class Clock:
    """Stands still until it is moved."""

    now_us: int = T0_US

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: int) -> None:
        """Move on by so much."""
        self.now_us += seconds * SECOND_US


@dataclass
class Built:
    """A limiter and what it is made of."""

    limiter: Limiter
    metrics: Metrics
    clock: Clock
    store: CounterStore
    local: MemoryStore = field(default_factory=lambda: MemoryStore(1000))

    async def ask(self, domain: str, *descriptors: Descriptor) -> Decision:
        """Decide about one request."""
        return await self.limiter.decide(LimitRequest(domain, descriptors))

    async def codes(self, domain: str, *descriptors: Descriptor, times: int = 1) -> str:
        """The overall codes of the same request so many times: ``.`` for OK, ``x`` for over."""
        answers = [await self.ask(domain, *descriptors) for _ in range(times)]
        return "".join("x" if answer.over else "." for answer in answers)


@cache
def rules_of(*texts: str, merge_domains: bool = False) -> RuleSet:
    """The rules of these files, read once; who judges by them never changes them."""
    files = {f"rules-{number}.yaml": text for number, text in enumerate(texts)}
    return load_texts(files, merge_domains=merge_domains)


def built(
    *texts: str,
    settings: RateLimitSettings | None = None,
    store: CounterStore | None = None,
    clock: Clock | None = None,
) -> Built:
    """A limiter with the rules of these files, by default over memory."""
    settings = settings or RateLimitSettings()
    metrics = Metrics(settings.metric_values_max)
    clock = clock or Clock()
    store = store or MemoryStore(settings.memory_counters_max)
    local = MemoryStore(settings.memory_counters_max)
    fallback = Fallback(settings.on_failure, settings.local_share, local, metrics)
    limiter = Limiter(store, fallback, settings, metrics, clock_us=clock)
    limiter.take_rules(rules_of(*texts, merge_domains=settings.merge_domains))
    return Built(limiter, metrics, clock, store, local)


def entries(*words: str) -> tuple[tuple[str, str], ...]:
    """``key=value`` words as entries."""
    return tuple((key, value) for key, _, value in (word.partition("=") for word in words))


def one(*words: str, hits: int = 1, override: Override | None = None) -> Descriptor:
    """A descriptor of ``key=value`` words."""
    return Descriptor(entries(*words), hits, override)

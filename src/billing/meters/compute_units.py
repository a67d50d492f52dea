"""The meter of JSON-RPC requests: compute units by method and size (docs/pricing.md).

One call costs its method's multiplier, times the size of the exchange where that is above 1 KiB:
``multiplier x max(1, bytes / 1024)``, bytes being the body in and the body out. A batch is one
body, so its bytes are shared evenly among its calls, and every call is priced:
``CU = sum of multipliers x max(1, bytes / (1024 x calls))``. The fraction is kept exact up to the
one rounding of each amount.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from billing.errors import ConfigError
from billing.meters.amounts import (
    PPM,
    ExactAmount,
    check_markup,
    check_price,
    check_setting,
    check_sides,
    make_cost,
    make_quote,
)
from billing.meters.readings import Exact, Unreadable, read_whole, scaled, shown
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import ceil_div
from billing.refusals import Refusal, refuse

KIB = 1024
BYTES_PER_CU = KIB
THOUSANDTHS = 1000
MAX_MULTIPLIER = 1_000_000 * THOUSANDTHS
OTHER = "*"
"""In a ticket's basis: all methods that go by the default multiplier, so that a client cannot make
the ticket grow with method names of its own."""

SHOWN_METHODS = 8
"""How many methods a formula names before it sums up the rest."""


class _Load(NamedTuple):
    """The calls of one request: how many, and the sum of their multipliers."""

    calls: int
    thousandths: int

    def floor_bytes(self) -> int:
        """The size up to which the calls cost their multipliers alone."""
        return self.calls * BYTES_PER_CU

    def units(self, size_bytes: int) -> Exact:
        """Compute units of the calls with that many bytes in and out, exact."""
        floor_bytes = self.floor_bytes()
        return Exact(self.thousandths * max(floor_bytes, size_bytes), THOUSANDTHS * floor_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeUnitTariff:
    """Multipliers by method in thousandths (``eth_call`` 1.5 is 1500) and nano-USD per unit.

    A method that is not listed goes by ``default_multiplier_thousandths``, or is refused where that
    is ``None``. ``max_response_kib`` and ``typical_response_kib`` are the size of one call's answer
    that a quote reckons with: 64 KiB holds all but the largest logs and traces, 1 KiB most answers.
    """

    methods: Mapping[str, int]
    default_multiplier_thousandths: int | None = None
    nanos_per_cu: int | None = None
    provider_nanos_per_cu: int | None = None
    markup_ppm: int = PPM
    typical_response_kib: int = 1
    max_response_kib: int = 64

    def __post_init__(self) -> None:
        check_sides("a compute unit", self.nanos_per_cu, self.provider_nanos_per_cu)
        check_price("nanos_per_cu", self.nanos_per_cu)
        check_price("provider_nanos_per_cu", self.provider_nanos_per_cu)
        check_markup(self.markup_ppm)
        check_setting("max_response_kib", self.max_response_kib, 1, 1 << 30)
        check_setting("typical_response_kib", self.typical_response_kib, 0, self.max_response_kib)
        if OTHER in self.methods:
            raise ConfigError(f"'{OTHER}' is no method; set default_multiplier_thousandths instead")
        for method, multiplier in self.methods.items():
            check_setting(f"multiplier of {method}", multiplier, 0, MAX_MULTIPLIER)
        if self.default_multiplier_thousandths is not None:
            default = self.default_multiplier_thousandths
            check_setting("default_multiplier_thousandths", default, 0, MAX_MULTIPLIER)

    def quote(self, ask: Ask) -> Quote | Refusal:
        """Quote by methods and body; ``bad_request_body`` without calls or with an unknown one."""
        calls = self._folded(ask.calls)
        if isinstance(calls, Refusal):
            return calls
        load = self._load(calls)
        if isinstance(load, Unreadable):
            return refuse("bad_request_body", load.reason, field="method")
        least, typical, most = (
            max(ask.body_bytes, 0) + kib * KIB * load.calls
            for kib in (0, self.typical_response_kib, self.max_response_kib)
        )
        return make_quote(
            self._amount(load, least),
            self._amount(load, typical),
            self._amount(load, most),
            (
                ceil_div(*load.units(least)),
                ceil_div(*load.units(typical)),
                ceil_div(*load.units(most)),
            ),
            {"calls": calls},
        )

    def cost(self, basis: Mapping[str, object], usage: Usage) -> Cost | NoUsage:
        """Price the ticket's calls by the bytes that really went in and out."""
        calls = basis.get("calls")
        if not isinstance(calls, Mapping):
            return NoUsage("the ticket names no calls")
        load = self._load(calls)
        if isinstance(load, Unreadable):
            return NoUsage(load.reason)
        size_bytes = usage.request_bytes + usage.response_bytes
        return make_cost(
            self._amount(load, size_bytes),
            ceil_div(*load.units(size_bytes)),
            self._work(calls, load, size_bytes),
        )

    def _multiplier(self, method: object) -> int | None:
        """A method's multiplier in thousandths; ``None`` for a name that a ticket may not hold."""
        if method == OTHER:
            return self.default_multiplier_thousandths
        return self.methods.get(method) if isinstance(method, str) else None

    def _folded(self, calls: Mapping[str, int]) -> dict[str, int] | Refusal:
        """The calls under the names that have a multiplier; unlisted methods become ``OTHER``."""
        folded: dict[str, int] = {}
        for method, count in calls.items():
            name = method if method in self.methods else OTHER
            if self._multiplier(name) is None:
                reason = f"no price for method '{shown(method)}'"
                return refuse("bad_request_body", reason, field="method", method=shown(method))
            folded[name] = folded.get(name, 0) + count
        return folded

    def _load(self, calls: Mapping[str, int] | Mapping[object, object]) -> _Load | Unreadable:
        total = thousandths = 0
        for method, value in calls.items():
            multiplier = self._multiplier(method)
            count = read_whole("the number of calls", value)
            if multiplier is None:
                return Unreadable("a method of the ticket is not in this tariff")
            if isinstance(count, Unreadable):
                return count
            total += count
            thousandths += count * multiplier
        return _Load(total, thousandths) if total else Unreadable("the request calls no method")

    def _amount(self, load: _Load, size_bytes: int) -> ExactAmount:
        own, provider = self.nanos_per_cu, self.provider_nanos_per_cu
        numerator, denominator = load.units(size_bytes)
        return ExactAmount(
            own=None if own is None else numerator * own,
            provider=None if provider is None else numerator * provider,
            denominator=denominator,
            markup_ppm=self.markup_ppm,
        )

    def _work(
        self, calls: Mapping[str, int] | Mapping[object, object], load: _Load, size_bytes: int
    ) -> str:
        """The formula up to the markup; after ``SHOWN_METHODS`` methods only their number."""
        terms = [
            f"{count:.0f} {method} x {scaled(self._multiplier(method) or 0, 3)}"
            for method, count in islice(calls.items(), SHOWN_METHODS)
        ]
        more = len(calls) - len(terms)
        terms += [f"{more} more methods"] if more else []
        own, provider = self.nanos_per_cu, self.provider_nanos_per_cu
        return (
            f"({' + '.join(terms)} = {scaled(load.thousandths, 3)} CU)"
            f" x max(1, {size_bytes} bytes / {load.floor_bytes()})"
            f" x {provider if own is None else own}"
        )

"""Asking a meter, where the test knows of what kind the answer is."""

from __future__ import annotations

from collections.abc import Mapping

from billing.meters.values import Ask, Cost, Quote, Tariff, Usage
from billing.refusals import Refusal


def quoted(tariff: Tariff, ask: Ask) -> Quote:
    """The quote of a request that can be priced."""
    found = tariff.quote(ask)
    assert isinstance(found, Quote), found
    return found


def refused(tariff: Tariff, ask: Ask) -> Refusal:
    """The refusal of one that cannot."""
    found = tariff.quote(ask)
    assert isinstance(found, Refusal), found
    return found


def cost_of(tariff: Tariff, basis: Mapping[str, object], usage: Usage) -> Cost:
    """The cost of a usage that can be priced."""
    found = tariff.cost(basis, usage)
    assert isinstance(found, Cost), found
    return found

"""How much is left of a limit, and how long one has to wait: pure, from a charge and its
outcome.
"""

from __future__ import annotations

from ratelimit.algorithms import Algorithm, Charge, Outcome


def remaining_hits(charge: Charge, outcome: Outcome) -> int:
    """Whole hits that still fit; 0 for a charge that was over its limit, as envoyproxy answers."""
    if outcome.over:
        return 0
    return max(0, charge.capacity - outcome.after) // charge.scale


def until_reset_us(charge: Charge, outcome: Outcome) -> int:
    """Until waiting helps a refused charge; for one that fits, until its window ends or its
    bucket is full again.
    """
    if outcome.over:
        return wait_us(charge, outcome, charge.cost)
    if charge.algorithm == Algorithm.TOKEN_BUCKET:
        return _drain_us(charge, outcome.after)
    return _until_end_us(charge)


def wait_us(charge: Charge, outcome: Outcome, cost: int) -> int:
    """After this outcome, the time until ``cost`` ticks fit; for a cost above the capacity, which
    never fits, until the counter is empty.
    """
    if outcome.after + cost <= charge.capacity:
        return 0
    if charge.algorithm == Algorithm.TOKEN_BUCKET:
        return _drain_us(charge, min(outcome.after, outcome.after + cost - charge.capacity))
    if charge.algorithm == Algorithm.SLIDING_WINDOW:
        return _slide_us(charge, outcome, cost)
    return _until_end_us(charge)


def _until_end_us(charge: Charge) -> int:
    return max(0, charge.start_us + charge.length_us - charge.now_us)


def _drain_us(charge: Charge, ticks: int) -> int:
    if charge.drain == 0:
        return charge.ttl_ms * 1000
    return -(-ticks // charge.drain)


def _slide_us(charge: Charge, outcome: Outcome, cost: int) -> int:
    """A count of ``n`` in the previous window weighs ``n * left / length``, so it leaves room for
    ``room`` hits once ``left <= length * room / n``."""
    length_us = charge.length_us
    until_end_us = _until_end_us(charge)
    current = outcome.current + (outcome.after - outcome.before)
    room = charge.capacity - cost - current
    if room >= 0 and outcome.previous > 0:
        return max(0, until_end_us - length_us * room // outcome.previous)
    room = charge.capacity - cost
    if room < 0 or current == 0:
        return until_end_us + length_us
    return until_end_us + max(0, length_us - length_us * room // current)

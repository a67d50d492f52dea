"""How much is left of a limit, and how long one has to wait: pure, from a draw and its
reading.
"""

from __future__ import annotations

from ratelimit.algorithms import Algorithm, Draw, Reading


def remaining_hits(draw: Draw, reading: Reading) -> int:
    """Whole hits that still fit; 0 for a draw that was over its limit, as envoyproxy answers."""
    if reading.over:
        return 0
    return max(0, draw.capacity - reading.after) // draw.scale


def until_reset_us(draw: Draw, reading: Reading) -> int:
    """Until waiting helps a refused draw; for one that fits, until its window ends or its
    bucket is full again.
    """
    if reading.over:
        return wait_us(draw, reading, draw.cost)
    if draw.algorithm == Algorithm.TOKEN_BUCKET:
        return _drain_us(draw, reading.after)
    return _until_end_us(draw)


def wait_us(draw: Draw, reading: Reading, cost: int) -> int:
    """After this reading, the time until ``cost`` ticks fit; for a cost above the capacity, which
    never fits, until the counter is empty.
    """
    if reading.after + cost <= draw.capacity:
        return 0
    if draw.algorithm == Algorithm.TOKEN_BUCKET:
        return _drain_us(draw, min(reading.after, reading.after + cost - draw.capacity))
    if draw.algorithm == Algorithm.SLIDING_WINDOW:
        return _slide_us(draw, reading, cost)
    return _until_end_us(draw)


def _until_end_us(draw: Draw) -> int:
    return max(0, draw.start_us + draw.length_us - draw.now_us)


def _drain_us(draw: Draw, ticks: int) -> int:
    if draw.drain == 0:
        return draw.ttl_ms * 1000
    return -(-ticks // draw.drain)


def _slide_us(draw: Draw, reading: Reading, cost: int) -> int:
    """A count of ``n`` in the previous window weighs ``n * left / length``, so it leaves room for
    ``room`` hits once ``left <= length * room / n``."""
    length_us = draw.length_us
    until_end_us = _until_end_us(draw)
    current = reading.current + (reading.after - reading.before)
    room = draw.capacity - cost - current
    if room >= 0 and reading.previous > 0:
        return max(0, until_end_us - length_us * room // reading.previous)
    room = draw.capacity - cost
    if room < 0 or current == 0:
        return until_end_us + length_us
    return until_end_us + max(0, length_us - length_us * room // current)

"""Random requests for the reference model and for the stores that are held against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from ratelimit.algorithms import Algorithm, Consume, Draw, Group, Mode, Reading, Role
from ratelimit.limits import Limit
from ratelimit.units import Unit
from tests.unit.ratelimit.reference_model import Ask, Said

# A Friday evening, five seconds before an hour ends: windows of every unit turn over in the tests.
START_US = 1_700_000_000_000_000 - 1_700_000_000_000_000 % 3_600_000_000 - 5_000_000
_LIMITS = {
    "fixed": Limit(5, Unit.SECOND),
    "fixed-minute-fits": Limit(7, Unit.MINUTE, count_refused=False),
    "sliding": Limit(6, Unit.SECOND, Algorithm.SLIDING_WINDOW, count_refused=False),
    "sliding-counts": Limit(9, Unit.MINUTE, Algorithm.SLIDING_WINDOW, count_refused=True),
    "bucket": Limit(7, Unit.SECOND, Algorithm.TOKEN_BUCKET, burst=4, count_refused=False),
    "bucket-counts": Limit(30, Unit.MINUTE, Algorithm.TOKEN_BUCKET, count_refused=True),
    "bucket-zero": Limit(0, Unit.SECOND, Algorithm.TOKEN_BUCKET, burst=9, count_refused=False),
    "fixed-zero": Limit(0, Unit.SECOND),
}


class Step(NamedTuple):
    """A request, so long after the one before it."""

    later_us: int
    asks: Sequence[Ask]
    mode: Mode


def _ask(counter: str, hits: int, role: Role, age_us: int) -> Ask:
    return Ask(counter, _LIMITS[counter], hits, role, corrects=hits < 0, drawn_us=age_us)


_asks = st.builds(
    _ask,
    st.sampled_from(sorted(_LIMITS)),
    st.one_of(st.integers(0, 4), st.integers(-3, 12)),
    st.sampled_from(Role),
    st.integers(0, 90_000_000),
)
_later = st.one_of(st.integers(0, 400_000), st.integers(0, 70_000_000), st.just(0))
steps = st.lists(
    st.builds(Step, _later, st.lists(_asks, min_size=1, max_size=4), st.sampled_from(Mode)),
    min_size=1,
    max_size=25,
)


def dated(step: Step, now_us: int) -> Step:
    """The step with the age of what is given back as a time."""
    asks = [ask._replace(drawn_us=now_us - ask.drawn_us) for ask in step.asks]
    return step._replace(asks=asks)


def group_of(step: Step, now_us: int, prefix: str = "") -> Group:
    """The same request for a store."""
    return Group([_draw(ask, now_us, prefix) for ask in step.asks], step.mode)


def said(group: Group, readings: Sequence[Reading]) -> list[Said]:
    """A store's answers in the model's words."""
    return [
        Said(reading.over, 0 if _corrects(draw) else -(-reading.before // draw.scale))
        for draw, reading in zip(group.draws, readings, strict=True)
    ]


def _corrects(draw: Draw) -> bool:
    return draw.consume == Consume.CORRECTION


def _draw(ask: Ask, now_us: int, prefix: str) -> Draw:
    counter = f"{prefix}{{t}}:{ask.counter}"
    if ask.corrects:
        draw = ask.limit.correction(counter, ask.hits, now_us, ask.drawn_us)
        return draw._replace(role=ask.role)
    return ask.limit.draw(counter, ask.hits, now_us, ask.role)

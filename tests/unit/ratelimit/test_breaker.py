"""When a server is left alone."""

from __future__ import annotations

from ratelimit.breaker import Breaker


def test_faults_in_a_row_open_it_once() -> None:
    """The third fault of three opens; further ones say nothing new."""
    breaker = Breaker(3)
    assert [breaker.failed() for _ in range(5)] == [False, False, True, False, False]
    assert breaker.open
    assert breaker.opened == 1


def test_an_answer_between_faults_keeps_it_closed() -> None:
    """Only faults with no answer between them count."""
    breaker = Breaker(2)
    for _ in range(10):
        assert not breaker.failed()
        breaker.answered()
    assert not breaker.open


def test_only_a_probe_closes_it() -> None:
    """A late answer to an old call does not; after a probe the count starts anew."""
    breaker = Breaker(1)
    seen = []
    for event in (breaker.failed, breaker.answered, breaker.probed):
        event()
        seen.append(breaker.open)
    assert seen == [True, True, False]
    assert breaker.failed()

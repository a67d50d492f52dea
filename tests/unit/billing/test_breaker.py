"""The circuit breaker, on a clock of the test's own."""

from __future__ import annotations

from billing.breaker import Breaker


class Clock:
    """Seconds that pass when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_opens_after_faults_in_a_row_and_lets_one_probe_pass() -> None:
    """Three faults open it; then one call per probe interval may try, the others fail at once."""
    clock = Clock()
    breaker = Breaker(clock, faults_to_open=3, probe_s=0.5)
    for _ in range(3):
        assert breaker.lets_pass()
        breaker.failed()
    assert breaker.is_open
    assert not breaker.lets_pass()
    clock.now_s += 0.5
    assert [breaker.lets_pass(), breaker.lets_pass()] == [True, False]


def test_a_probes_answer_closes_it_and_forgets_the_faults() -> None:
    """One such answer closes it, and it takes as many faults as before to open it again."""
    breaker = Breaker(Clock(), faults_to_open=2)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert not breaker.is_open
    assert breaker.lets_pass()


def test_faults_in_a_row_open_it_once() -> None:
    """The third fault of three opens; further ones say nothing new."""
    breaker = Breaker(Clock(), faults_to_open=3)
    assert [breaker.failed() for _ in range(5)] == [False, False, True, False, False]
    assert breaker.is_open
    assert breaker.opened == 1


def test_an_answer_between_faults_keeps_it_closed() -> None:
    """Only faults with no answer between them count."""
    breaker = Breaker(Clock(), faults_to_open=2)
    for _ in range(10):
        assert not breaker.failed()
        breaker.answered()
    assert not breaker.is_open


def test_only_a_probe_closes_it() -> None:
    """A late answer to an old call does not; after a probe the count starts anew."""
    breaker = Breaker(Clock(), faults_to_open=1)
    seen = []
    for event in (breaker.failed, breaker.answered, breaker.succeeded):
        event()
        seen.append(breaker.is_open)
    assert seen == [True, True, False]
    assert breaker.failed()
    assert breaker.opened == 2

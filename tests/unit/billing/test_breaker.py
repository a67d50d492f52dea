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


def test_an_answer_closes_it_and_forgets_the_faults() -> None:
    """One answer closes it, and it takes as many faults as before to open it again."""
    breaker = Breaker(Clock(), faults_to_open=2)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert not breaker.is_open
    assert breaker.lets_pass()

"""Waits that grow, with a share of chance, and begin anew after a success."""

import pytest

from accesslog.backoff import Backoff


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (1.0, 1.0)])
async def test_waits_double_up_to_the_bound(chance: float, share: float) -> None:
    """Each wait lies between half of its length and all of it."""
    slept_s: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)

    backoff = Backoff(1, 5, sleep, lambda: chance)
    for _ in range(5):
        await backoff.wait()
    backoff.reset()
    await backoff.wait()
    assert slept_s == [share * wait for wait in (1, 2, 4, 5, 5, 1)]

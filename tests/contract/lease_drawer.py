"""A worker in a process of its own that admits from a lease until somebody stops the process; when
it goes on it prints what it admitted before, and how much it could draw at once after."""

from __future__ import annotations

import asyncio
import sys
import time

from billing.reservations import Admitted
from tests.contract.front_workers import ask, front

STOPPED_S = 2.0
"""A turn of the loop that takes so long was none of ours."""
READY_DRAWS = 20
AT_ONCE = 200


async def draw_until_stopped(dsn: str, redis_url: str, account: str) -> tuple[int, int]:
    """How much was admitted before the stop, and how much was drawn right after it."""
    admitted = drawn = 0
    async with front(dsn, redis_url, journal_s=0.01) as one:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(0.002)
            if time.monotonic() - before_s > STOPPED_S:
                after = [one.reserver.draw(*ask(account, 1, pool="p")) for _ in range(AT_ONCE)]
                return admitted, sum(answer is not None for answer in after)
            asked = ask(account, 1, pool="p")
            if one.reserver.draw(*asked) is not None:
                drawn += 1
                if drawn == READY_DRAWS:
                    print("drawing", flush=True)
            elif not isinstance(await one.reserver.reserve(*asked, "closed"), Admitted):
                continue
            admitted += 1


if __name__ == "__main__":
    before, after = asyncio.run(draw_until_stopped(sys.argv[1], sys.argv[2], sys.argv[3]))
    print(before, after, flush=True)

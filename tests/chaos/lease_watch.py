"""What the workers' leases did while things broke, by the pages on which they count them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import httpx

from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore

LOOK_S = 0.25
PAGE_TIMEOUT_S = 1.0
STANDING = "tollkeeper_leases"
COUNTED = {
    "drawn": "tollkeeper_lease_draws_total",
    "called back": "tollkeeper_leases_called_back_total",
    "not answered": "tollkeeper_lease_faults_total",
}
PATIENCE_S = 10.0


@dataclass
class LeaseWatch:
    """``pages`` are those of the workers. ``seen`` adds up what they counted, a worker's successors
    included; what one counts between a look and its death is missing. ``standing`` is how many
    leases each has, of those that answered the last look."""

    pages: Sequence[str]
    seen: Counter[str] = field(default_factory=Counter)
    standing: dict[str, int] = field(default_factory=dict)
    _last: dict[tuple[str, str], int] = field(default_factory=dict)

    async def run(self) -> None:
        """Look for ever."""
        async with httpx.AsyncClient(timeout=PAGE_TIMEOUT_S) as client:
            while True:
                await self._look(client)
                await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Ask every worker once; one that does not answer is left out."""
        async with httpx.AsyncClient(timeout=PAGE_TIMEOUT_S) as client:
            await self._look(client)

    async def _look(self, client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(self._read(client, page) for page in self.pages))

    async def _read(self, client: httpx.AsyncClient, page: str) -> None:
        try:
            text = (await client.get(f"http://{page}/metrics")).raise_for_status().text
        except httpx.HTTPError:
            self.standing.pop(page, None)
            return
        found = _samples(text.splitlines())
        self.standing[page] = found[STANDING]
        for name, sample in COUNTED.items():
            last = self._last.get((page, name), 0)
            count = self._last[page, name] = found[sample]
            self.seen[name] += count - last if count >= last else count

    @property
    def under_way(self) -> int:
        """Leases that workers have."""
        return sum(self.standing.values())

    @property
    def all_let_go(self) -> bool:
        """Whether every worker answered, and none has a lease."""
        return len(self.standing) == len(self.pages) and not self.under_way


def _samples(lines: Iterable[str]) -> Counter[str]:
    """Samples without labels; a page that lacks one counts 0."""
    found: Counter[str] = Counter()
    for line in lines:
        name, _, value = line.partition(" ")
        if name == STANDING or name in COUNTED.values():
            found[name] = int(float(value))
    return found


async def leases_in_redis(redis_url: str, account_ids: Sequence[str]) -> list[tuple[str, str]]:
    """What the hot copies hold for leases: account, and what is left as a record."""
    client = connect(redis_url, PATIENCE_S)
    try:
        copies = await RedisHotStore(client, lambda: "watch", PATIENCE_S).read(account_ids)
    finally:
        await client.aclose()
    return [(account, record) for account, copy in copies.items() for _, record in copy.leases]

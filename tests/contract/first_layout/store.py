"""The hot copy as Tollkeeper wrote it before ``hot_counts.lua``: three fields for each budget.

Old and new workers run side by side during an upgrade, so the scripts of then are kept here as they
were, for tests that let both loose on one Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from billing.rate import RateLeft
from billing.reservations import Admitted, Hold, Publication, Short, Truth, Used
from billing.stores.hot_layout import account_key
from billing.stores.protocol import Absent
from billing.stores.redis_faults import redis_faults
from billing.stores.redis_hot import RedisHotStore

LOAD_RIGHT_MS = 2000

_pack = msgspec.msgpack.Encoder().encode


class FirstHotStore(RedisHotStore):
    """All that a worker of then asked of the hot copy; one call for each item."""

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        """As the scripts of then decide."""
        token = self._new_token()
        head = (epoch, token, LOAD_RIGHT_MS)
        asked = [(one.account_id, (*head, _request(one))) for one in holds]
        return [_admission(answer, token) for answer in await self._ask("admit", asked)]

    async def load(self, epoch: int, copies: Sequence[tuple[str, Truth]]) -> Sequence[bool]:
        """Build copies of the layout before."""
        built = [
            (one.account_id, (epoch, _pack((token, *_balance(one), one.used, one.pending))))
            for token, one in copies
        ]
        return [bool(answer) for answer in await self._ask("load", built)]

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Tell copies of the layout before; what becomes of others is for tests to see."""
        told = [
            (said.account_id, (_pack((*_balance(said), said.used, said.ended)),))
            for said in publications
        ]
        await self._ask("publish", told)

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life in records of the layout before."""
        await self._ask("extend", [(account, (ident, end)) for account, ident, end in lives])

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        """What the program of then would make of the copies."""
        found = {}
        for account_id in account_ids:
            async with redis_faults("read", self._deadline_s):
                fields = cast(
                    "dict[bytes, bytes]", await self._client.hgetall(account_key(account_id))
                )
            if b"e" in fields:
                found[account_id] = _truth(account_id, fields)
        return found

    async def _ask(self, name: str, items: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        text = Path(__file__).with_name(f"{name}.lua").read_text()
        async with redis_faults(name, self._deadline_s):
            pipeline = self._client.pipeline(transaction=False)
            for account, args in items:
                pipeline.execute_command("EVAL", text, 1, account_key(account), *args)
            answers = await pipeline.execute()
        return [answer[0] if isinstance(answer, list) else answer for answer in answers]


def _balance(said: Publication | Truth) -> tuple[str, str, str]:
    return str(said.posted_nanos), str(said.overdraft_nanos), str(said.version)


def _request(hold: Hold) -> bytes:
    rate = () if hold.rate is None else (hold.rate,)
    return _pack((hold.reservation_id, str(hold.amount_nanos), hold.record(), hold.budgets, *rate))


def _admission(answer: list[Any], token: str) -> Admitted | Short | Absent:
    match answer:
        case [1, available]:
            return Admitted(int(available))
        case [1, available, requests, full_after_us]:
            return Admitted(int(available), rate=RateLeft(requests, full_after_us))
        case [0, budget, left, limit, *wait_us]:
            return Short(budget.decode(), int(left), int(limit), *wait_us)
        case [code]:
            return Absent(mine=code == 2, token=token)
    raise AssertionError(answer)


def _truth(account_id: str, fields: Mapping[bytes, bytes]) -> Truth:
    used = [
        Used(name[2:].decode(), int(window), int(fields.get(b"u:" + name[2:], b"0")))
        for name, window in fields.items()
        if name.startswith(b"w:")
    ]
    pending = [
        (name[2:].decode(), record.decode())
        for name, record in fields.items()
        if name.startswith(b"r:")
    ]
    return Truth(account_id, int(fields[b"p"]), int(fields[b"o"]), int(fields[b"v"]), used, pending)

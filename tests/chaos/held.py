"""What Redis still holds when all is over: nothing, of credits, of what is counted, for leases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import unpack
from typing import cast

from billing.stores.hot_layout import account_key
from billing.stores.redis_client import connect
from tests.chaos.arena import Arena
from tests.chaos.quiet import PATIENCE_S


def copy_differences(name: str, fields: Mapping[bytes, bytes]) -> Iterator[str]:
    """What a copy still holds, of credits and of what is counted, when all is over."""
    if b"v" not in fields:
        return
    posted, overdraft, available = (int(fields[amount]) for amount in (b"p", b"o", b"a"))
    if available != posted + overdraft:
        yield f"{name}: {available} available of {posted} and overdraft {overdraft}"
    names = fields[b"b"].decode().split("|")[1:]
    numbers = unpack(f"<{3 * len(names)}d", fields[b"c"])
    for counted, held in zip(names, numbers[2::3], strict=True):
        if held:
            yield f"{name}: {held} of {counted} is held"
    for left in (b"k", b"t"):
        if left in fields:
            yield f"{name}: {left.decode()} is still there: {fields[left].decode()}"


async def held_differences(arena: Arena) -> Sequence[str]:
    """Every copy, field by field, as Redis has it."""
    client = connect(arena.stack.settings.require_redis_url(), PATIENCE_S)
    found: list[str] = []
    try:
        for account, payer in arena.payers.items():
            fields = cast("dict[bytes, bytes]", await client.hgetall(account_key(account)))
            found += copy_differences(payer.customer.name, fields)
    finally:
        await client.aclose()
    return found

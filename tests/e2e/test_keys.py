"""Who may come in: keys in every place and state, accounts, subscriptions; and what the upstream
sees of it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from billing.accounts import NewKey, Terms
from billing.keys import generate_key
from billing.subscriptions import SubscriptionStatus
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream
from tollkeeper.operations.accounts import suspend_account
from tollkeeper.operations.keys import create_key, revoke_key, rotate_key
from tollkeeper.operations.subscriptions import set_subscription
from tollkeeper.stack.plan import EXAMPLE_CREDENTIAL

PING = "/flat/ping"
PINGED = Paid("ping", CREDIT, 1)
SOON_S = 3.0


def code_of(answer: httpx.Response) -> str:
    """The code of a refusal, with its status; a refusal names its request and says what to do."""
    error = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["message"]
    assert error["action"]
    return f"{answer.status_code} {error['code']}"


async def until_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    """Ask until the answer is a refusal, and say which; at most for some seconds."""
    deadline_s = time.monotonic() + SOON_S
    while time.monotonic() < deadline_s:
        answer = await client.get("/self", headers=headers)
        if answer.status_code != 200:
            return code_of(answer)
        await asyncio.sleep(0.05)
    return "never refused"


async def test_a_key_is_taken_from_three_places(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Authorization, x-api-key and the query work alike; the upstream sees the provider's
    credential and nothing of the key."""
    customer = await stage.customer(10 * CREDIT)
    key = customer.key
    places: tuple[tuple[str, dict[str, str], str], ...] = (
        (PING, {"authorization": f"bearer  {key}"}, PING),
        (PING, {"x-api-key": key}, PING),
        (f"{PING}?a=1&api_key={key}&b=2", {}, f"{PING}?a=1&b=2"),
        (f"{PING}?api_key={key}", {"x-api-key": key}, PING),
        (PING, {"x-api-key": key, "authorization": "Bearer sk-not-ours"}, PING),
    )
    async with stage.client() as client:
        for url, sent, target in places:
            assert (await client.get(url, headers=sent)).status_code == 200
            seen, headers = await upstream.last(PING)
            assert seen == target
            assert key not in str(headers)
            assert headers["authorization"] == f"Bearer {EXAMPLE_CREDENTIAL}"
            assert "x-api-key" not in headers
            assert headers["x-tollkeeper-account"] == customer.account_id
    await books.expect(customer, 10 * CREDIT, *[PINGED] * len(places))


async def test_headers_of_ours_are_not_the_clients_to_send(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """What a client sends under our names never reaches the upstream, and changes nothing."""
    customer = await stage.customer(10 * CREDIT)
    forged = {
        "x-tollkeeper-account": "somebody-else",
        "X-Tollkeeper-Anything": "1",
        "x-credits-remaining": "9999",
        "x-credits-reserved": "0",
    }
    async with stage.client(customer) as client:
        answer = await client.get(PING, headers=forged)
    assert answer.headers["x-credits-reserved"] == "1.000000"
    assert answer.headers["x-credits-remaining"] == "9.000000"
    _, seen = await upstream.last(PING)
    ours = {name: value for name, value in seen.items() if name.startswith(("x-toll", "x-cred"))}
    assert ours == {"x-tollkeeper-account": customer.account_id}
    await books.expect(customer, 10 * CREDIT, PINGED)


async def test_the_request_id_is_ours(stage: Stage, books: Books) -> None:
    """A client's x-request-id names no reservation: two requests with the same one are two."""
    customer = await stage.customer(10 * CREDIT)
    own = {"x-request-id": "00000000-0000-7000-8000-000000000000"}
    async with stage.client(customer) as client:
        answers = [await client.get(PING, headers=own) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    reading = await books.expect(customer, 10 * CREDIT, PINGED, PINGED)
    assert [event["reservation_id"] for event in reading.events] == ids
    assert own["x-request-id"] not in ids


async def test_no_key_and_wrong_keys_are_401s(stage: Stage, upstream: Upstream) -> None:
    """Each kind of wrong key has its code; a malformed one is refused without a look-up."""
    stranger = generate_key(lambda alphabet: alphabet[-1])
    stage.keys.append(stranger)
    async with stage.client() as client:

        async def code(headers: dict[str, str]) -> str:
            answer = await client.get(PING, headers=headers)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="tollkeeper"')
            return code_of(answer)

        assert await code({}) == "401 missing_key"
        assert await code({"authorization": "Basic c2VjcmV0bHk="}) == "401 missing_key"
        before = await stage.authz_counts("tollkeeper_authz_key_lookups_total")
        assert await code({"x-api-key": "tk_secretly"}) == "401 malformed_key"
        assert await code({"x-api-key": f"{stranger[:-1]}1"}) == "401 malformed_key"
        assert await code({"x-api-key": f"{stranger}A"}) == "401 malformed_key"
        two = {"x-api-key": stranger, "authorization": f"Bearer {stranger[:-1]}1"}
        assert await code(two) == "401 malformed_key"
        assert await stage.authz_counts("tollkeeper_authz_key_lookups_total") == before
        assert await code({"x-api-key": stranger}) == "401 unknown_key"
    assert await upstream.received(PING) == 0


async def test_unknown_keys_are_asked_for_once(stage: Stage) -> None:
    """Each worker asks Postgres once for a key that does not exist, however often it comes."""
    stranger = generate_key(lambda alphabet: alphabet[7])
    stage.keys.append(stranger)
    queries = "tollkeeper_authz_key_queries_total"
    before = await stage.authz_counts(queries)
    async with stage.client() as client:
        asked = [client.get(PING, headers={"x-api-key": stranger}) for _ in range(40)]
        codes = {code_of(answer) for answer in await asyncio.gather(*asked)}
    assert codes == {"401 unknown_key"}
    after = await stage.authz_counts(queries)
    assert 1 <= sum(after) - sum(before) <= len(after)


async def test_an_expired_and_a_revoked_key_are_told_apart(stage: Stage, books: Books) -> None:
    """A key that ended by its date is `expired_key`, one that was ended `revoked_key`."""
    customer = await stage.customer(CREDIT)
    soon = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    async with stage.act() as act:
        expiring = await create_key(act, customer.account_id, NewKey(expires_at=soon))
        revoked = await create_key(act, customer.account_id, NewKey())
    headers, ended = stage.remembered(expiring), stage.remembered(revoked)
    async with stage.client() as client:
        assert (await client.get("/self", headers=headers)).status_code == 200
        assert (await client.get("/self", headers=ended)).status_code == 200
        async with stage.act() as act:
            await revoke_key(act, customer.account_id, revoked.id)
        assert await until_refused(client, ended) == "401 revoked_key"
        assert await until_refused(client, headers) == "401 expired_key"
    assert datetime.now(UTC) >= soon
    await books.expect(customer, CREDIT)


async def test_a_rotated_key_works_beside_the_new_one(stage: Stage, books: Books) -> None:
    """During the overlap both keys work, after it only the new one."""
    customer = await stage.customer(10 * CREDIT)
    async with stage.act() as act:
        rotated = await rotate_key(act, customer.account_id, customer.key_id, timedelta(seconds=2))
    fresh = stage.remembered(rotated)
    async with stage.client() as client:
        assert (await client.get(PING, headers=fresh)).status_code == 200
        assert (await client.get(PING, headers=customer.headers)).status_code == 200
        assert await until_refused(client, customer.headers) == "401 expired_key"
        assert (await client.get(PING, headers=fresh)).status_code == 200
    await books.expect(customer, 10 * CREDIT, PINGED, PINGED, PINGED)


async def test_scopes_bound_a_key_to_routes_and_profiles(stage: Stage, books: Books) -> None:
    """A key for the route ping and the profile rpc does nothing else."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.act() as act:
        issued = await create_key(act, customer.account_id, NewKey(scopes=("ping", "rpc")))
    headers = stage.remembered(issued)
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    async with stage.client() as client:
        assert (await client.get(PING, headers=headers)).status_code == 200
        assert (await client.post("/rpc/ethereum", json=call, headers=headers)).status_code == 200
        refused = await client.post("/tools/run", json={}, headers=headers)
    assert code_of(refused) == "403 key_not_allowed"
    await books.expect(customer, 100 * CREDIT, PINGED, Paid("ethereum", 10_000, 1))


async def test_without_a_subscription_nothing_is_sold(stage: Stage, books: Books) -> None:
    """An account subscribed to rpc alone is refused elsewhere, but for what charges nothing."""
    customer = await stage.customer(10 * CREDIT, profiles=("rpc",))
    async with stage.client(customer) as client:
        assert code_of(await client.get(PING)) == "403 no_subscription"
        assert (await client.get("/self")).status_code == 200
    await books.expect(customer, 10 * CREDIT)


@pytest.mark.parametrize("status", ["suspended", "cancelled"])
async def test_an_ended_subscription_is_refused(
    stage: Stage, books: Books, status: SubscriptionStatus
) -> None:
    """A suspended and a cancelled subscription have a code each; the other profiles go on."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.act() as act:
        terms = Terms(plan="unlimited", status=status)
        await set_subscription(act, customer.account_id, "rpc", terms)
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    async with stage.client(customer) as client:
        refused = await client.post("/rpc/ethereum", json=call)
        assert (await client.get(PING)).status_code == 200
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert (error["code"], error["data"]["code"]) == (-32043, f"subscription_{status}")
    await books.expect(customer, 100 * CREDIT, PINGED)


async def test_a_suspended_account_is_refused_everywhere(stage: Stage, books: Books) -> None:
    """No route serves a suspended account, not even one that charges nothing."""
    customer = await stage.customer(10 * CREDIT)
    async with stage.act() as act:
        await suspend_account(act, customer.account_id)
    async with stage.client(customer) as client:
        for path in (PING, "/self"):
            assert code_of(await client.get(path)) == "403 account_suspended"
    await books.expect(customer, 10 * CREDIT)

"""The answers as Envoy reads them; the fast way of writing them against the plain one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog import Credential, Route
from billing.money import MAX_NANOS, format_credits
from billing.refusals import KINDS, refuse
from billing.reservations import Admitted
from billing.ticket import MAX_TICKET_CHARS
from envoyapi.auth_v3_pb2 import CheckResponse
from envoyapi.core_v3_pb2 import HeaderValueOption
from extauthz.decision import Allowed, Refused
from extauthz.facts import Facts
from extauthz.response import write_allowed, write_refused
from extauthz.terms import Terms

OVERWRITE = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
nanos = st.integers(0, MAX_NANOS)
texts = st.text(max_size=300)


def facts(**changes: Any) -> Facts:
    usual: dict[str, Any] = {
        "route": "r",
        "key": "k",
        "key_headers": (),
        "key_in_query": False,
        "our_headers": (),
        "body_bytes": 0,
        "body": "",
        "body_is_partial": False,
        "lifted": {},
        "gateway_request_id": "",
    }
    return Facts(**{**usual, **changes})


def plainly(allowed: Allowed) -> CheckResponse:
    """The same answer, built with the messages of the API."""
    terms, asked, response = allowed.terms, allowed.facts, CheckResponse()
    ok, fields = response.ok_response, response.dynamic_metadata.fields
    sent = {"x-tollkeeper-account": terms.account_id}
    credential = terms.route.credential
    if credential is not None:
        sent[credential.header] = credential.value
    for name, value in [*sent.items(), ("x-request-id", allowed.request_id)]:
        option = ok.headers.add(append_action=OVERWRITE)
        option.header.key, option.header.value = name, value
    keys = asked.key_headers if credential is None else ("authorization", "x-api-key")
    ok.headers_to_remove.extend(name for name in keys if name not in sent)
    ok.headers_to_remove.extend(n for n in asked.our_headers if n != "x-tollkeeper-account")
    if asked.key_in_query:
        ok.query_parameters_to_remove.append("api_key")
    told = {"x-request-id": allowed.request_id}
    if allowed.admission is not None:
        told["x-credits-reserved"] = format_credits(allowed.held_nanos)
        told["x-credits-remaining"] = format_credits(max(0, allowed.admission.available_nanos))
        fields["ticket"].string_value = allowed.ticket
        if allowed.quoted_units is not None:
            fields["quoted_units"].string_value = str(allowed.quoted_units)
    for name, value in told.items():
        option = ok.response_headers_to_add.add(append_action=OVERWRITE)
        option.header.key, option.header.value = name, value
    fields["account"].string_value = terms.account_id
    fields["key"].string_value = terms.key_id
    fields["profile"].string_value = terms.route.profile
    fields["shape"].string_value = terms.route.shape
    if terms.plan:
        fields["plan"].string_value = terms.plan
    if terms.requests_per_second is not None:
        limit = fields["limit"].struct_value
        limit.update({"requests_per_unit": terms.requests_per_second, "unit": "SECOND"})
        fields["burst"].string_value = str(terms.burst or terms.requests_per_second)
    return response


credentials = st.sampled_from(
    [None, Credential("authorization", "Bearer s"), Credential("x-api-key", "s")]
)
routes = st.builds(
    Route,
    name=texts,
    upstream=texts,
    profile=texts,
    meter=st.just("flat"),
    tariff=texts,
    shape=st.sampled_from(["json", "jsonrpc"]),
    credential=credentials,
)
all_terms = st.builds(
    Terms,
    edition=st.just(0),
    route=routes,
    account_id=texts,
    key_id=texts,
    plan=texts,
    requests_per_second=st.none() | st.integers(1, 10**6),
    burst=st.none() | st.integers(1, 10**6),
)
all_facts = st.builds(
    facts,
    key_headers=st.sampled_from([(), ("authorization",), ("authorization", "x-api-key")]),
    key_in_query=st.booleans(),
    our_headers=st.sampled_from([(), ("x-tollkeeper-account",), ("x-credits-a", "x-tollkeeper-b")]),
)
tickets = st.integers(0, MAX_TICKET_CHARS).map(lambda length: "t" * length) | texts


@given(
    st.builds(
        Allowed,
        request_id=texts,
        terms=all_terms,
        facts=all_facts,
        ticket=tickets,
        held_nanos=nanos,
        admission=st.none() | st.builds(Admitted, st.integers(-MAX_NANOS, MAX_NANOS)),
        quoted_units=st.none() | st.integers(0, 2**53),
    )
)
def test_the_fast_answer_is_the_plain_one(allowed: Allowed) -> None:
    """Written in two parts and by hand, an answer reads exactly as one built plainly, and again
    when the lasting part is there already."""
    expected = plainly(allowed)
    for _ in range(2):
        assert CheckResponse.FromString(write_allowed(allowed)) == expected


def test_no_header_is_both_set_and_removed() -> None:
    """Envoy removes after it sets: what stands in both would be gone."""
    for header in ("authorization", "x-api-key", "x-provider"):
        route = Route("r", "u", "p", "flat", "t", credential=Credential(header, "secret"))
        ours = ("x-tollkeeper-account", "x-tollkeeper-other")
        allowed = Allowed("id", Terms(0, route, "a", "k"), facts(our_headers=ours))
        ok = CheckResponse.FromString(write_allowed(allowed)).ok_response
        sent = {option.header.key for option in ok.headers}
        assert header in sent
        assert not sent & set(ok.headers_to_remove)
        assert {"authorization", "x-api-key"} <= sent | set(ok.headers_to_remove)


@pytest.mark.parametrize("code", KINDS)
def test_a_refusal_carries_its_status(code: str) -> None:
    """Envoy takes our HTTP status and hears that it is no success; logs learn the code."""
    response = CheckResponse.FromString(
        write_refused(Refused("id", refuse(code), "json", facts()), "")
    )
    assert response.status.code == 7
    assert int(response.denied_response.status.code) == KINDS[code].http_status
    assert response.dynamic_metadata.fields["refused"].string_value == code
    assert all(o.append_action == OVERWRITE for o in response.denied_response.headers)


@pytest.mark.parametrize(
    ("code", "challenge"),
    [
        ("missing_key", 'Bearer realm="tollkeeper"'),
        ("revoked_key", 'Bearer realm="tollkeeper", error="invalid_token"'),
        ("no_subscription", None),
    ],
)
def test_who_has_no_key_is_told_the_scheme(code: str, challenge: str | None) -> None:
    """A 401 has a challenge (RFC 6750), nothing else has."""
    refused = Refused("id", refuse(code), "json", facts())
    response = CheckResponse.FromString(write_refused(refused, ""))
    headers = {o.header.key: o.header.value for o in response.denied_response.headers}
    assert headers.get("www-authenticate") == challenge


def test_retry_after_stands_where_waiting_helps() -> None:
    """The header is what the refusal says, and absent where it says nothing."""
    for seconds in (None, 7):
        refused = Refused("id", refuse("rate_limited", retry_after_s=seconds), "json", facts())
        response = CheckResponse.FromString(write_refused(refused, ""))
        headers = {o.header.key: o.header.value for o in response.denied_response.headers}
        assert headers.get("retry-after") == (None if seconds is None else "7")

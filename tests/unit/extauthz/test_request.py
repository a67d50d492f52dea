"""What a check is taken for: the route, the key and where it stood, the body, what was lifted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.refusals import Refusal
from envoyapi.auth_v3_pb2 import CheckRequest
from extauthz.facts import Facts
from extauthz.request import NotACheck, read_check
from tests.unit.extauthz.front_door import LIFTED, envoy_check, make_key

KEY, OTHER = make_key(1), make_key(2)


def read(route: str = "r", key: str | None = None, **more: object) -> Facts:
    return read_check(envoy_check(route, key, **more))  # type: ignore[arg-type]


def test_the_route_is_what_envoys_configuration_carries() -> None:
    """The name comes from the context extension, and is empty without one."""
    assert read("chat").route == "chat"
    assert read_check(b"").route == ""


@pytest.mark.parametrize(
    ("headers", "path", "places"),
    [
        ({"authorization": f"Bearer {KEY}"}, "/", ["authorization"]),
        ({"authorization": f"bearer  {KEY} "}, "/", ["authorization"]),
        ({"x-api-key": KEY}, "/", ["x-api-key"]),
        ({}, f"/p?api_key={KEY}", ["query"]),
        ({}, f"/p?a=1&api_key={KEY}&b=2", ["query"]),
        ({}, f"/p?api_key={KEY.replace('_', '%5F')}", ["query"]),
        ({}, f"/p?api_key={KEY}&api_key={KEY}", ["query"]),
        ({"x-api-key": KEY}, f"/p?api_key={KEY}", ["x-api-key", "query"]),
        ({"authorization": "Bearer sk-own", "x-api-key": KEY}, "/", ["x-api-key"]),
        ({"authorization": "Basic dTpw", "x-api-key": KEY}, "/", ["x-api-key"]),
        ({"authorization": f"Bearer {KEY}"}, "/p?api_key=upstreams-own", ["authorization"]),
        ({"authorization": f"Bearer {KEY}", "x-api-key": ""}, "/", ["authorization"]),
    ],
)
def test_a_key_is_found_where_it_may_stand(
    headers: dict[str, str], path: str, places: list[str]
) -> None:
    """Bearer, x-api-key or query; beside it, what is meant for the upstream stays where it is."""
    facts = read(headers=headers, path=path)
    assert facts.key == KEY
    assert [*facts.key_headers, *(["query"] if facts.key_in_query else [])] == places


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"authorization": f"Bearer {KEY}", "x-api-key": OTHER}, "/"),
        ({"x-api-key": KEY}, f"/?api_key={OTHER}"),
        ({"authorization": "Bearer one", "x-api-key": "two"}, "/"),
    ],
)
def test_two_different_keys_are_no_key(headers: dict[str, str], path: str) -> None:
    """Which of them should pay? Neither."""
    facts = read(headers=headers, path=path)
    assert isinstance(facts.key, Refusal)
    assert facts.key.kind.code == "malformed_key"


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({}, "/"),
        ({"authorization": "Bearer "}, "/"),
        ({"authorization": "Basic dTpw"}, "/"),
        ({"x-api-key": " "}, "/"),
        ({}, "/?api_key="),
        ({}, "/?xapi_key=1"),
        ({}, f"/?api%5Fkey={KEY}"),
        ({}, f"/api_key={KEY}"),
    ],
)
def test_without_a_key_it_is_missing(headers: dict[str, str], path: str) -> None:
    """An empty one, another scheme, or a parameter that Envoy would not remove, is no key."""
    facts = read(headers=headers, path=path)
    assert isinstance(facts.key, Refusal)
    assert facts.key.kind.code == "missing_key"


@pytest.mark.parametrize(
    ("headers", "size_bytes", "body", "expected"),
    [
        ({}, 0, "", 0),
        ({"content-length": "12"}, 0, "", 12),
        ({}, 47, "", 47),
        ({}, -1, "abc", 3),
        ({"content-length": "9001"}, 4096, "x" * 4096, 9001),
        ({"content-length": "-5"}, 0, "", 0),
        ({"content-length": "9" * 30}, 0, "", 0),
        ({"content-length": "\u0661"}, 0, "", 0),
    ],
)
def test_the_length_of_a_body_is_the_most_that_anyone_says(
    headers: dict[str, str], size_bytes: int, body: str, expected: int
) -> None:
    """Header, Envoy's count or the body itself; what is no length counts as none."""
    assert read(headers=headers, size_bytes=size_bytes, body=body).body_bytes == expected


def test_a_body_comes_as_text_or_as_bytes() -> None:
    """Both fields of Envoy's are read, and a partial body is told as such."""
    assert read(body="text").body == "text"
    assert read(body=b"\xff").body == b"\xff"
    assert not read().body_is_partial
    assert read(headers={"x-envoy-auth-partial-body": "true"}).body_is_partial


def test_headers_of_ours_are_noticed() -> None:
    """Whatever begins with our prefixes, and nothing else."""
    forged = {"x-tollkeeper-account": "a", "x-credits-left": "1"}
    facts = read(headers={**forged, "x-other": "x-tollkeeper-", "x-tollkeeper": "2"})
    assert sorted(facts.our_headers) == sorted(forged)


def test_lifted_values_keep_their_kind() -> None:
    """Text, numbers and booleans are taken; null, objects and lists are left out."""
    request = CheckRequest.FromString(envoy_check("chat"))
    lifted = request.attributes.metadata_context.filter_metadata[LIFTED]
    lifted.update({"model": "m", "n": 2, "stream": True, "o": {"a": 1}, "l": [1], "z": None})
    lifted.fields["unset"].Clear()
    facts = read_check(request.SerializeToString())
    assert facts.lifted == {"model": "m", "n": 2.0, "stream": True}
    assert read().lifted == {}


def test_envoys_own_request_id_is_kept_for_logs() -> None:
    """The id that joins our logs with Envoy's."""
    assert read().gateway_request_id == "envoy-1"


def test_what_is_no_check_is_a_fault_of_the_caller() -> None:
    """Bytes that are no message are told apart from checks."""
    with pytest.raises(NotACheck):
        read_check(b"\x0a\xff\xff")


@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(wire: bytes) -> None:
    """Whatever arrives is a check or is not one."""
    try:
        facts = read_check(wire)
    except NotACheck:
        return
    assert isinstance(facts, Facts)


@given(
    st.dictionaries(st.sampled_from(["authorization", "x-api-key", "x-tollkeeper-a"]), st.text()),
    st.text(),
    st.text(),
)
def test_no_text_makes_it_stumble(headers: dict[str, str], path: str, body: str) -> None:
    """Headers, paths and bodies of any text are read."""
    facts = read(headers=headers, path=path, body=body)
    assert isinstance(facts.key, str | Refusal)
    assert facts.key != ""

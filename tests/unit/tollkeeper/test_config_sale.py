"""From tollkeeper.yaml to the catalog: exact amounts, and a digest that means something."""

import hashlib
import json
from pathlib import Path

import pytest

from billing.catalog import Credential
from billing.errors import ConfigError
from billing.meters.compute_units import ComputeUnitTariff
from billing.meters.duration import DurationTariff
from billing.meters.flat import FlatTariff
from billing.meters.reported import ReportedTariff
from billing.meters.tokens import TokenTariff
from billing.meters.values import Ask, Quote
from tests.unit.tollkeeper.example import EXAMPLE, default_settings, example_config
from tollkeeper.config import compile_catalog, load_config, price_digest, resolve_credentials

CREDENTIALS = {"example": Credential("authorization", "Bearer sk-example")}


def example(text: str, folder: Path) -> str:
    """The digest of the one price version of a changed example."""
    path = folder / "tollkeeper.yaml"
    path.write_text(text)
    return price_digest(load_config(path, default_settings()).prices[0])


def test_amounts_are_whole_nano_usd() -> None:
    """Every price of the example is the integer that its decimals say."""
    version = compile_catalog(example_config(), CREDENTIALS).prices.versions[0]
    tokens, cu = version.tariffs["chat"], version.tariffs["ethereum"]
    assert isinstance(tokens, TokenTariff)
    provider = tokens.models["gpt-4o-mini"].provider
    assert provider is not None
    assert (provider.input_nanos_per_mtok, provider.output_nanos_per_mtok) == (
        150_000_000,
        600_000_000,
    )
    assert provider.cached_input_nanos_per_mtok == 75_000_000
    assert tokens.markup_ppm == 2_000_000
    assert isinstance(cu, ComputeUnitTariff)
    assert cu.nanos_per_cu == 10_000
    assert cu.methods["eth_call"] == 1_500


def test_the_examples_tariffs_are_those_of_the_contract() -> None:
    """A ping costs one credit, a tool run 2 credits and its time, a reported cost is doubled."""
    tariffs = compile_catalog(example_config(), CREDENTIALS).prices.versions[0].tariffs
    assert tariffs["ping"] == FlatTariff(nanos_per_request=1_000_000)
    assert tariffs["tool"] == DurationTariff()
    reported = tariffs["reported"]
    assert isinstance(reported, ReportedTariff)
    assert reported.markup_ppm == 2_000_000
    quote = tariffs["ping"].quote(Ask())
    assert isinstance(quote, Quote)
    assert quote.max_nanos == 1_000_000


def test_routes_carry_what_the_doors_need() -> None:
    """A JSON-RPC route needs its body, and every route its upstream's credential."""
    catalog = compile_catalog(example_config(), CREDENTIALS)
    ethereum = catalog.routes["ethereum"]
    assert (ethereum.shape, ethereum.needs_body, ethereum.max_calls) == ("jsonrpc", True, 1000)
    assert not catalog.routes["chat"].needs_body
    charged = [route for route in catalog.routes.values() if route.charged]
    assert {route.credential for route in charged} == {CREDENTIALS["example"]}
    assert {name for name, route in catalog.routes.items() if name != route.name} == set()


def test_plans_are_bounds_in_nano_usd() -> None:
    """Money of a plan is an integer, and the unlimited plan bounds nothing."""
    plans = compile_catalog(example_config(), {}).plans
    assert plans["free"].limits.spend_per_day_nanos == 1_000_000_000
    assert plans["free"].limits.max_request_nanos == 500_000_000
    assert plans["pro"].limits_for("tools").requests_per_second == 10
    bounds = plans["unlimited"].limits
    assert {getattr(bounds, name) for name in bounds.__slots__} == {None}


def test_the_digest_is_that_of_canonical_json() -> None:
    """Whoever has the version's values can compute its digest: SHA-256 of sorted JSON."""
    version = example_config().prices[0]
    content = json.loads(version.model_dump_json(exclude_defaults=True))
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert price_digest(version) == hashlib.sha256(text.encode()).hexdigest()


def test_the_same_prices_have_the_same_digest(tmp_path: Path) -> None:
    """Order, quotes, trailing zeros and written-out defaults change nothing."""
    text = EXAMPLE.read_text()
    same = (
        text.replace("usd_per_request: 0.001", 'usd_per_request: "0.00100"\n        markup: 1.0')
        .replace("          eth_blockNumber: 1\n", "")
        .replace(
            "          trace_block: 5\n",
            "          trace_block: 5\n          eth_blockNumber: 1.0\n",
        )
        .replace("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00")
    )
    assert same != text
    assert example(same, tmp_path) == price_digest(example_config().prices[0])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("usd_per_request: 0.001", "usd_per_request: 0.001000001"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
        ('version: "2026-01"', 'version: "2026-02"'),
        ("trace_block: 5", "trace_block: 5.001"),
        ("eth_chainId: 1\n", "eth_chainId: 1\n          eth_syncing: 1\n"),
    ],
)
def test_other_prices_have_another_digest(tmp_path: Path, old: str, new: str) -> None:
    """The smallest change of what is charged, or when, is a change of the digest."""
    text = EXAMPLE.read_text()
    assert old in text
    usual = price_digest(example_config().prices[0])
    assert example(text.replace(old, new), tmp_path) != usual


def test_credentials_are_whole_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prefix and the secret make the header's value."""
    monkeypatch.setenv("EXAMPLE_API_KEY", "sk-example")
    monkeypatch.setenv("TOLLKEEPER_GATEWAY_SECRET", "of-the-gateway")
    assert resolve_credentials(example_config()) == CREDENTIALS | {
        "admin": Credential("x-tollkeeper-gateway", "of-the-gateway")
    }


@pytest.mark.parametrize("secret", ["", "sk\r\nx-evil: 1", "sk-\x7f", "sk-é"])
def test_a_credential_that_no_header_can_carry_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """A missing secret and one that would break the header are named, never shown."""
    monkeypatch.setenv("EXAMPLE_API_KEY", secret)
    with pytest.raises(ConfigError, match="upstream example") as caught:
        resolve_credentials(example_config())
    assert "sk" not in str(caught.value)

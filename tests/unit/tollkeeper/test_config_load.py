"""tollkeeper.yaml: what is accepted, and how each mistake is told."""

import re
from functools import cache
from pathlib import Path

import pytest

from billing.errors import ConfigError
from tests.unit.tollkeeper.example import EXAMPLE, default_settings, example_config
from tollkeeper.config import Config, load_config
from tollkeeper.settings import load_settings

UNTOUCHED = (
    "  admin:",  # an upstream
    "  account:",  # a route
    "  reported:",
    "    limits:",  # of one plan, then of the next
    "    limits:",
    "          gpt-4o:",  # a model
)
"""Blocks of the example in which the mistakes below change nothing."""


def load(text: str, folder: Path, **settings: object) -> Config:
    """Load a configuration from text, by default settings or with some changed."""
    path = folder / "tollkeeper.yaml"
    path.write_text(text)
    return load_config(path, load_settings(**settings) if settings else default_settings())


def changed(old: str, new: str) -> str:
    """The example, but for what no mistake is in, with one text replaced by another."""
    text = shortened_example()
    assert old in text
    return text.replace(old, new, 1)


@cache
def shortened_example() -> str:
    """Two thirds of the example; reading YAML is most of what these tests do."""
    text = EXAMPLE.read_text()
    for heading in UNTOUCHED:
        deeper = len(heading) - len(heading.lstrip()) + 1
        block = rf"^{heading}\n(?: {{{deeper},}}.*\n|\n)*"
        text, found = re.subn(block, "", text, count=1, flags=re.MULTILINE)
        assert found, heading
    return text


def test_the_example_is_what_the_contract_names() -> None:
    """The example serves the five routes and the three plans of the contract, section 3, and
    self-service."""
    config = example_config()
    served = {
        name: (route.match.method, route.match.path, route.profile, route.meter)
        for name, route in config.routes.items()
    }
    assert served == {
        "chat": ("POST", "/v1/chat/completions", "llm", "tokens"),
        "ethereum": ("POST", "/rpc/ethereum", "rpc", "compute_units"),
        "tool": ("POST", "/tools/run", "tools", "duration"),
        "reported": ("POST", "/reported/v1/chat/completions", "llm", "reported"),
        "ping": ("GET", "/flat/ping", "llm", "flat"),
        "account": (None, None, "llm", None),
    }
    assert list(config.plans) == ["free", "pro", "unlimited"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("action_url:", "action_ur:", "5: action_ur: is not known here; did you mean action_url?"),
        ("    upstream: example\n", "", "routes.chat.upstream: is missing; add it"),
        ("    profile: rpc\n", "    profile: [rpc]\n", "routes.ethereum.profile: must be text"),
        ("max_calls: 1000", "max_calls: many", "max_calls: must be a whole number"),
        ("max_calls: 1000", "max_calls: 0", "max_calls: must be greater than or equal to 1"),
        (
            "POST, path: /tools/run",
            "GET, path: tools/run",
            "routes.tool.match.path: must be a path",
        ),
        ("method: GET", "method: FETCH", "routes.ping.match.method: must be 'GET', 'HEAD'"),
        ("GET, path: /flat/ping", "GET", "routes.ping.match: name an exact path or a prefix"),
        ("GET, path: /flat", "GET, prefix: /flat", "a prefix ends with /"),
        (
            "0.075",
            "7.5e-2",
            "cached_input_usd_per_million_tokens: '7.5e-2' is not an amount of USD",
        ),
        ("0.075", "-1", "cached_input_usd_per_million_tokens: must not be negative"),
        ("0.075", "0.0000000001", "is not an amount of USD"),
        ("eth_call: 1.5", "eth_call: 1.2345", "multipliers.eth_call: must be a number such as"),
        ("markup: 2.0", "markup: two", "tariffs.reported.markup: must be a number such as 2"),
        ("markup: 2.0", "markup: 0", "tariffs.reported.markup: must be greater than"),
        ("        meter: flat\n", "", "tariffs.ping.meter: is missing; add it"),
        ("        meter: flat\n", "        meter: wine\n", "tariffs.ping.meter: must be one of"),
        ("usd_per_request: 0.001", "markup: 2", "prices[0].tariffs.ping: has no price"),
        ("typical_usd: 0.002", "typical_usd: 1", "typical_usd and max_usd must not descend"),
        (
            'version: "2026-01"',
            "version: 2026",
            "prices[0].version: must be text; put it in quotes",
        ),
        ("2026-01-01T00:00:00Z", "2026-01-01", "effective_from: must be a time with its zone"),
        ("http://127.0.0.1:9000", "ftp://h", "upstreams.example.url: must be http://host:port"),
        ("http://127.0.0.1:9000", "http://h/v1", "must end after the port"),
        ("http://127.0.0.1:9000", "http://u:p@h", "must not hold a user or password"),
        ("env: EXAMPLE_API_KEY", "env: A, file: b", "credential: name the secret's environment"),
        ("listen: 0.0.0.0:10000", "listen: 10000", "gateway.listen: must be"),
        ("listen: 0.0.0.0:10000", "listen: here", "write host:port or unix:path"),
        ("profiles: [llm", "profiles: ['l m'", "profiles[0]: must be up to 60 letters"),
        ('version: "2026-01"', f"version: v{60 * '1'}", "prices[0].version: must be up to 60"),
        ("  unlimited: {}", "  unlimited: {limits: {burst: 3}}", "burst needs requests_per_second"),
        ("  unlimited: {}", "  unlimited: []", "plans.unlimited: must be a mapping"),
        ("    upstream: example\n", "    upstream: exampl\n", "no upstream 'exampl'; write one of"),
        ("    profile: rpc\n", "    profile: rcp\n", "no profile 'rcp'; write one of llm, rpc"),
        ("tariff: tool\n", "tariff: tol\n", "price version 2026-01 has no tariff 'tol'"),
        ("tariff: tool\n", "tariff: ping\n", "tariff 'ping' of price version 2026-01 is for flat"),
        ("    shape: jsonrpc\n", "", "routes.ethereum.shape: the meter compute_units counts calls"),
        ("    tariff: ping\n", "    tariff: ping\n    token_limit: {}\n", "counts no tokens"),
        ("    tariff: ping\n", "    tariff: ping\n    stream_usage: require\n", "needs no usage"),
        ("    tariff: ping\n", "", "routes.ping.tariff: is missing; add it, or say charged: false"),
        ("    tariff: ping\n", "    tariff: ping\n    charged: false\n", "has no price; remove it"),
        ("/flat/ping}", "/tools/run}", None),
        ("GET, path: /flat/ping}", "POST, path: /tools/run}", "route tool takes the same requests"),
        ("      tools:\n", "      tolls:\n", "plans.pro.profiles.tolls: no profile 'tolls'"),
        ("[llm, rpc, tools]", "[llm, rpc, tools, llm]", "profiles: llm stands 2 times; keep one"),
        (
            "    tariff: ping\n",
            "    tariff: ping\n    failure: {authorization: open}\n",
            "unchecked requests would reach example with the client's key",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    tmp_path: Path, old: str, new: str, told: str | None
) -> None:
    """Each mistake is a line that names the file, the line, the key and what to do."""
    text = changed(old, new)
    if told is None:  # two methods of one path are two routes
        assert load(text, tmp_path).routes["ping"].match.path == "/tools/run"
        return
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    assert told in str(caught.value)
    assert all(line.startswith(f"{tmp_path}/") for line in str(caught.value).splitlines())


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Three mistakes are three lines, in the order of the file."""
    text = changed("max_calls: 1000", "max_calls: none").replace("period: month", "period: ever")
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    lines = str(caught.value).splitlines()
    keys = [line.split(": ")[1] for line in lines]
    assert keys == ["routes.ethereum.max_calls", "plans.free.period", "plans.pro.period"]
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)


def test_two_price_versions_need_two_names_and_two_times(tmp_path: Path) -> None:
    """A version that stands twice, or two that begin at once, are refused."""
    text = EXAMPLE.read_text()
    version = text[text.index("  - version:") : text.index("ratelimit:\n")]
    with pytest.raises(ConfigError) as caught:
        load(text.replace(version, version + version), tmp_path)
    assert "2026-01 stands twice" in str(caught.value)
    assert "two versions begin at this time" in str(caught.value)


def test_a_self_service_route_has_no_price() -> None:
    """A route with charged: false needs neither meter nor tariff, and takes a prefix."""
    route = example_config().routes["account"]
    assert (route.charged, route.meter, route.tariff, route.match.prefix) == (
        False,
        None,
        None,
        "/account/",
    )


def test_settings_put_addresses_in_place_of_the_files(tmp_path: Path) -> None:
    """Ports and upstreams of one machine come from the settings, the rest from the file."""
    config = load(
        EXAMPLE.read_text(),
        tmp_path,
        gateway_listen="127.0.0.1:1",
        envoy_admin_listen="127.0.0.1:2",
        upstream_urls={"example": "https://there:3"},
    )
    assert (str(config.gateway.listen), str(config.gateway.admin_listen)) == (
        "127.0.0.1:1",
        "127.0.0.1:2",
    )
    assert config.upstreams["example"].url == "https://there:3"


@pytest.mark.parametrize("urls", [{"exampl": "http://h:1"}, {"example": "h:1"}])
def test_an_override_that_fits_nothing_is_refused(tmp_path: Path, urls: dict[str, str]) -> None:
    """An override of an unknown upstream, or one that is no URL, names its variable."""
    with pytest.raises(ConfigError, match="TOLLKEEPER_UPSTREAM_URLS"):
        load(EXAMPLE.read_text(), tmp_path, upstream_urls=urls)


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    """A relative path means the same wherever the program was started."""
    text = changed("env: EXAMPLE_API_KEY", "file: secrets/key")
    config = load(text, tmp_path)
    credential = config.upstreams["example"].credential
    assert credential is not None
    assert credential.file == tmp_path / "secrets/key"
    assert config.ratelimit.directory == tmp_path / "ratelimit.d"

"""Settings: from the environment, from files, from a command line."""

from pathlib import Path

import pytest

from billing.errors import ConfigError
from tollkeeper.addresses import Address
from tollkeeper.secret_files import MAX_SECRET_FILE_BYTES
from tollkeeper.settings import Settings, load_settings, read_credential

SECRET = "0123456789abcdef-signs"


def test_every_default_is_valid() -> None:
    """Without any variable there is a usable set of settings."""
    settings = load_settings()
    assert settings.authz_addresses == (Address("127.0.0.1", 50051),)
    assert settings.ratelimit_listen == Address("127.0.0.1", 50052)


def test_every_setting_says_why() -> None:
    """Each setting has a description, and each number names its unit or what it counts."""
    units = ("_ms", "_s", "_bytes", "_nanos", "_percent")
    counted = ("_entries", "_connections", "_workers", "_requests", "_counters")
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.annotation is not int or name.endswith((*units, *counted)), name


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of our prefix sets the field of its name."""
    monkeypatch.setenv("TOLLKEEPER_AUTHZ_LISTEN", "unix:/run/a.sock")
    monkeypatch.setenv("TOLLKEEPER_AUTHZ_WORKERS", "2")
    monkeypatch.setenv("TOLLKEEPER_UPSTREAM_URLS", '{"example": "http://127.0.0.1:9"}')
    settings = load_settings()
    assert [str(a) for a in settings.authz_addresses] == [
        "unix:/run/a.sock.0",
        "unix:/run/a.sock.1",
    ]
    assert settings.upstream_urls == {"example": "http://127.0.0.1:9"}


def test_an_override_wins_over_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command line says counts more than the environment."""
    monkeypatch.setenv("TOLLKEEPER_REDIS_URL", "redis://variable:1/0")
    assert load_settings(redis_url="redis://override:1/0").require_redis_url() == (
        "redis://override:1/0"
    )


def test_the_rate_limits_share_a_redis_unless_told() -> None:
    """Without a Redis of their own, rate limits live beside the reservations."""
    both = load_settings(redis_url="redis://a:1")
    assert both.require_ratelimit_redis_url() == "redis://a:1"
    for url in ("unix:///r.sock", "redis+sentinel://s:1/main"):
        own = load_settings(redis_url="redis://a:1", ratelimit_redis_url=url)
        assert own.require_ratelimit_redis_url() == url


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    """The file's content is the secret, without its line end."""
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    assert load_settings(ticket_secret_file=path).ticket_secrets == (SECRET.encode(),)


def test_the_signing_secret_stands_first() -> None:
    """While secrets rotate, the new one signs and the old one still opens."""
    settings = load_settings(ticket_secret=SECRET, ticket_previous_secret=SECRET[::-1])
    assert settings.ticket_secrets == (SECRET.encode(), SECRET[::-1].encode())


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * (MAX_SECRET_FILE_BYTES + 1)])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, binary and huge files hold no secret."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="secret"):
        load_settings(ticket_secret_file=path)


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    """Nobody guesses which of two secrets was meant."""
    with pytest.raises(ConfigError, match="both set"):
        load_settings(ticket_secret=SECRET, ticket_secret_file=tmp_path / "other")


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("authz_workers", "many", "TOLLKEEPER_AUTHZ_WORKERS"),
        ("authz_listen", "h:1,h:2", "2 addresses for 1 workers"),
        ("gateway_listen", "nowhere", "write host:port or unix:path"),
        ("redis_url", "http://user:hunter2@h", "redis"),
        ("redis_url", "redis+sentinel://user:hunter2@h/main", "cannot be found by Sentinel"),
        ("redis_url", "rediss+sentinel://user:hunter2@h/main", "TOLLKEEPER_RATELIMIT_REDIS_URL"),
        ("postgres_dsn", "mysql://user:hunter2@h", "postgresql"),
        ("ticket_secret", "hunter2", "at least 16 bytes"),
        ("redis_deadline_ms", 0, "TOLLKEEPER_REDIS_DEADLINE_MS"),
        ("no_such_setting", 1, "TOLLKEEPER_NO_SUCH_SETTING"),
    ],
)
def test_a_bad_value_names_its_variable_and_never_shows_it(
    field: str, value: object, hint: str
) -> None:
    """The line says which variable and what to write, and repeats no secret."""
    with pytest.raises(ConfigError) as caught:
        load_settings(**{field: value})
    assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping is written as JSON, and a broken one is no traceback."""
    monkeypatch.setenv("TOLLKEEPER_UPSTREAM_URLS", "{")
    with pytest.raises(ConfigError, match="JSON"):
        load_settings()


def test_what_is_needed_and_missing_is_named() -> None:
    """A role that needs a secret says which variable to set."""
    settings = load_settings()
    with pytest.raises(ConfigError, match="set TOLLKEEPER_POSTGRES_DSN or"):
        settings.require_postgres_dsn()
    with pytest.raises(ConfigError, match="set TOLLKEEPER_TICKET_SECRET or"):
        _ = settings.ticket_secrets


def test_no_secret_is_in_the_text_of_settings() -> None:
    """Neither the representation nor a dump shows a secret."""
    settings = load_settings(
        ticket_secret=SECRET,
        redis_url="redis://:hunter2@h",
        postgres_dsn="postgres://u:hunter2@h/d",
    )
    shown = repr(settings) + settings.model_dump_json()
    assert SECRET not in shown
    assert "hunter2" not in shown


def test_a_credential_comes_from_a_variable_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tollkeeper.yaml names either, and both are read."""
    monkeypatch.setenv("SOME_PROVIDER_KEY", "sk-variable")
    path = tmp_path / "key"
    path.write_text("sk-file\n")
    assert read_credential("SOME_PROVIDER_KEY", None) == "sk-variable"
    assert read_credential(None, path) == "sk-file"
    with pytest.raises(ConfigError, match="OTHER_KEY"):
        read_credential("OTHER_KEY", None)
    with pytest.raises(ConfigError, match="missing"):
        read_credential(None, tmp_path / "missing")


@pytest.mark.parametrize("url", ["collector:4317", "http://collector", "http://c:1/v1/traces"])
def test_a_collector_is_named_by_host_and_port(url: str) -> None:
    """OTLP over gRPC has no path; a role does not start with an endpoint that it cannot use."""
    with pytest.raises(ConfigError, match="OTLP_ENDPOINT: write http://host:port"):
        load_settings(otlp_endpoint=url)


def test_a_collector_in_clear_has_no_use_for_certificates() -> None:
    """Who names them and writes http:// did not mean to send traces in clear."""
    with pytest.raises(ConfigError, match="TOLLKEEPER_OTLP_TLS: needs an https://"):
        load_settings(otlp_endpoint="http://collector:4317", otlp_tls={"ca": "/ca.pem"})

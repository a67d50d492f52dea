"""Where everything of a stack is: ports, secrets and the environment of its processes."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from devstack import free_port
from tollkeeper.addresses import Address
from tollkeeper.config import load_config
from tollkeeper.settings import ENV_PREFIX, Settings, load_settings

LOOPBACK = "127.0.0.1"
EXAMPLE_UPSTREAM = "example"
ADMIN_UPSTREAM = "admin"
EXAMPLE_CREDENTIAL = "sk-example-upstream-credential"
"""What the example upstream's routes carry instead of the client's key; it guards nothing."""


PATIENCE = {
    "redis_deadline_ms": "2000",
    "reserve_deadline_ms": "4000",
    "postgres_deadline_ms": "3000",
    "ratelimit_redis_deadline_ms": "80",
}
"""Deadlines for a machine on which everything runs at once, and tests besides: what is late here is
not broken. A gateway's own defaults are far shorter."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """``authz_workers``: processes of the front door. ``redis_cluster``: three masters instead of
    one Redis for the hot copy. ``settings``: further settings, by field name."""

    authz_workers: int = 1
    redis_cluster: bool = False
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StackPlan:
    """Settings of the stack, and the same as environment variables for its processes."""

    settings: Settings
    env: dict[str, str]


def secret_file(home: Path, name: str) -> Path:
    """The file of one of the stack's secrets; made once, readable by its owner only."""
    path = home.absolute() / "secrets" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path


def plan_stack(
    base: Settings, options: StackOptions, *, postgres_dsn: str, redis_url: str, rates_url: str
) -> StackPlan:
    """Settings for all processes: what is set stays, every other port is a free one."""
    workers, admin = options.authz_workers, _free()
    fields: dict[str, object] = {
        **{name: ms for name, ms in PATIENCE.items() if name not in base.model_fields_set},
        "config_file": str(base.config_file.absolute()),
        "home": str(base.home.absolute()),
        "postgres_dsn": postgres_dsn,
        "redis_url": redis_url,
        "ratelimit_redis_url": rates_url,
        "authz_workers": workers,
        "authz_listen": ",".join(_free() for _ in range(workers)),
        "authz_metrics_listen": ",".join(_free() for _ in range(workers)),
        "ratelimit_listen": _free(),
        "ratelimit_metrics_listen": _free(),
        "accesslog_listen": _free(),
        "accesslog_metrics_listen": _free(),
        "admin_listen": admin,
        "gateway_listen": _given(base.gateway_listen),
        "envoy_admin_listen": _given(base.envoy_admin_listen),
        "envoy_access_log_file": str(base.home.absolute() / "access.log"),
        "upstream_urls": _upstreams(base, _admin_url(base, options, admin)),
    }
    if base.ticket_secret is None:
        fields["ticket_secret_file"] = str(secret_file(base.home, "ticket"))
    if base.gateway_secret is None:
        fields["gateway_secret"] = secret_file(base.home, "gateway").read_text()
    fields.update(options.settings)
    env = {ENV_PREFIX + name.upper(): _text(value) for name, value in fields.items()}
    env["EXAMPLE_API_KEY"] = EXAMPLE_CREDENTIAL
    return StackPlan(load_settings(**fields), env)


def _upstreams(base: Settings, admin: str) -> dict[str, str]:
    """URLs of the upstreams that a stack runs itself, unless they are set."""
    known = load_config(base.config_file, base).upstreams
    own = {EXAMPLE_UPSTREAM: f"http://{_free()}", ADMIN_UPSTREAM: admin}
    return {name: url for name, url in own.items() if name in known} | base.upstream_urls


def _admin_url(base: Settings, options: StackOptions, address: str) -> str:
    """Where Envoy finds the management API; over TLS its upstream needs a ``ca_file``."""
    encrypted = base.admin_tls is not None or "admin_tls" in dict(options.settings)
    return f"{'https' if encrypted else 'http'}://{address}"


def _free() -> str:
    return f"{LOOPBACK}:{free_port()}"


def _given(address: Address | None) -> str:
    return _free() if address is None else str(address)


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)

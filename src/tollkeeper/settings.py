"""Settings: secrets, addresses and limits, from the environment; the one place that reads it.

Every field is the variable ``TOLLKEEPER_`` + its name in capitals. A secret may also lie in a
file, named by the same variable with ``_FILE``. What is sold, and where it is routed, is not here
but in ``tollkeeper.yaml`` (:mod:`tollkeeper.config`); a provider's credential is named there and
read here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from billing.errors import ConfigError
from billing.ticket import MIN_SECRET_BYTES
from tollkeeper.addresses import Address, for_workers
from tollkeeper.ratelimit_options import RATELIMIT_SECRETS, RatelimitOptions
from tollkeeper.secret_files import fill_from_files, read_secret_file
from tollkeeper.setting_types import (
    HotRedisUrl,
    Listen,
    ListenRow,
    PostgresDsn,
)
from tollkeeper.tls_settings import TlsSettings
from tollkeeper.trace_settings import TraceSettings
from tollkeeper.watch_settings import WatchSettings

ENV_PREFIX = "TOLLKEEPER_"
HOSTED_PREFIX = "TOLLKEEPER_HOSTED_"
Transport = Literal["direct", "hosted", "grpc"]
UnaryRole = Literal["authz", "ratelimit"]
_SECRETS = (
    "postgres_dsn",
    "redis_url",
    "ticket_secret",
    "ticket_previous_secret",
    "gateway_secret",
    *RATELIMIT_SECRETS,
)


class Settings(TlsSettings, RatelimitOptions, TraceSettings, WatchSettings, BaseSettings):
    """What differs between two installations of the same ``tollkeeper.yaml``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    config_file: Path = Field(
        Path("tollkeeper.yaml"), description="What is sold; the working directory's by default."
    )
    home: Path = Field(
        Path(".run"), description="Data directory of a stack; two stacks need two of them."
    )

    # --- servers ---------------------------------------------------------------------------------
    postgres_dsn: PostgresDsn | None = Field(
        None, description="Postgres, the truth: postgresql://user:password@host:port/database."
    )
    postgres_dsn_file: Path | None = Field(None, description="File that holds postgres_dsn.")
    redis_url: HotRedisUrl | None = Field(
        None,
        description="Redis, the hot copy: redis://host:port/0, rediss:// (TLS), unix:///path or "
        "redis+cluster://host:port; not by Sentinel.",
    )
    redis_url_file: Path | None = Field(None, description="File that holds redis_url.")

    # --- secrets ---------------------------------------------------------------------------------
    ticket_secret: SecretStr | None = Field(
        None,
        description=f"Signs tickets; at least {MIN_SECRET_BYTES} bytes, the same for all workers.",
    )
    ticket_secret_file: Path | None = Field(None, description="File that holds ticket_secret.")
    ticket_previous_secret: SecretStr | None = Field(
        None, description="Still opens the tickets of requests in flight while secrets rotate."
    )
    ticket_previous_secret_file: Path | None = Field(
        None, description="File that holds ticket_previous_secret."
    )

    gateway_secret: SecretStr | None = Field(
        None,
        description="By which the management API knows that a self-service request came through "
        "the gateway; the credential of the upstream of those routes.",
    )
    gateway_secret_file: Path | None = Field(None, description="File that holds gateway_secret.")

    # --- where the roles listen; loopback, because none of them speaks to clients ----------------
    authz_listen: ListenRow = Field(
        (Address("127.0.0.1", 50051),),
        description="Authorization: host:port or unix:path; one for each worker, separated by "
        "commas, or the first of a row.",
        validate_default=True,
    )
    ratelimit_listen: Listen = Field(
        Address("127.0.0.1", 50052), description="The rate-limit service."
    )
    accesslog_listen: Listen = Field(
        Address("127.0.0.1", 50053), description="The sink of Envoy's access-log stream."
    )
    admin_listen: Listen = Field(Address("127.0.0.1", 8080), description="The management API.")
    authz_metrics_listen: ListenRow = Field(
        (Address("127.0.0.1", 9110),),
        description="Metrics of authorization, for each worker, like authz_listen.",
    )
    ratelimit_metrics_listen: Listen = Field(
        Address("127.0.0.1", 9101), description="Metrics of the rate-limit service."
    )
    accesslog_metrics_listen: Listen = Field(
        Address("127.0.0.1", 9102), description="Metrics of the access-log sink."
    )
    gateway_listen: Listen | None = Field(
        None, description="Where Envoy listens for clients; overrides gateway.listen of the file."
    )
    envoy_admin_listen: Listen | None = Field(
        None, description="Envoy's admin interface; overrides gateway.admin_listen of the file."
    )
    envoy_access_log_file: Path = Field(
        Path("/dev/stdout"),
        description="Envoy's JSON access log, for replay; its output by default, which containers "
        "keep. Its folder must be there when Envoy starts.",
    )
    upstream_urls: dict[str, str] = Field(
        default_factory=dict,
        description='URLs by upstream name, as JSON ({"example": "http://127.0.0.1:9000"}); they '
        "override the file's.",
    )

    # --- transport -------------------------------------------------------------------------------
    authz_transport: Transport = Field(
        "direct",
        description="What carries checks: direct (HTTP/2 in Python, the quickest), hosted (Python "
        "inside an Envoy process, by pyvoy), or grpc (grpc.aio, with reflection).",
    )
    ratelimit_transport: Transport = Field(
        "direct", description="The same for the rate-limit service."
    )

    # --- workers ---------------------------------------------------------------------------------
    authz_workers: int = Field(
        1, ge=1, le=64, description="Processes of authorization; one until one core is not enough."
    )

    # --- deadlines: shorter than what Envoy waits for us (gateway.authz_timeout_ms) --------------
    redis_deadline_ms: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Longest wait for Redis in a check: a hundred times what it takes when well.",
    )
    reserve_deadline_ms: int = Field(
        400,
        ge=1,
        le=60_000,
        description="Longest wait of a check for its reservation, an absent copy built included; "
        "with postgres_deadline_ms below Envoy's authz_timeout_ms.",
    )
    postgres_deadline_ms: int = Field(
        500,
        ge=1,
        le=60_000,
        description="Longest wait for Postgres in a check (a key seen for the first time).",
    )
    settle_deadline_ms: int = Field(
        10_000, ge=100, le=600_000, description="Longest transaction of one settled batch."
    )
    drain_deadline_s: int = Field(
        10, ge=0, le=3_600, description="Longest time to finish what is in hand after SIGTERM."
    )

    lease_requests: int = Field(
        512,
        ge=0,
        le=10_000,
        description="Requests that a worker may hold in advance for an account that asks often, "
        "never more than an eighth of what is left; 0 asks Redis for each request.",
    )

    scheduling: Literal["batch", "normal"] = Field(
        "batch",
        description="How the kernel shares out cores (Linux): batch gives longer turns.",
    )

    # --- bounds ----------------------------------------------------------------------------------
    stale_max_s: int = Field(
        30,
        ge=0,
        le=86_400,
        description="How old keys, accounts and balances from memory may be when nobody tells us "
        "of changes: longer than a restart of Postgres, shorter than an operator's patience.",
    )
    principal_cache_entries: int = Field(
        1_000_000, ge=1, le=10_000_000, description="Known keys in memory; about 300 bytes each."
    )
    negative_cache_entries: int = Field(
        100_000, ge=1, le=10_000_000, description="Unknown keys in memory; about 150 bytes each."
    )
    check_queue_entries: int = Field(
        4_096,
        ge=1,
        le=1_000_000,
        description="Checks of one worker that wait for Redis; a second of them at full speed.",
    )
    allowance_nanos: int = Field(
        100_000_000,
        ge=0,
        le=10**15,
        description="What one worker lets one account spend while Redis is away: 0.10 USD, so "
        "100 credits.",
    )
    settle_batch_entries: int = Field(
        1_000, ge=1, le=10_000, description="Most access-log entries of one transaction."
    )
    settle_batch_wait_ms: int = Field(
        100, ge=1, le=60_000, description="How long a settled batch waits for more entries."
    )
    spool_max_bytes: int = Field(
        1 << 30,
        ge=1 << 16,
        le=1 << 44,
        description="Entries on disk while Postgres is away: 1 GiB.",
    )
    spool_dir: Path | None = Field(
        None,
        description="Where settlers keep entries on disk, each in a folder of its own; the folder "
        "spool of home by default. Settlers that share it take over from one another.",
    )
    spool_adopt_interval_s: int = Field(
        5, ge=1, le=3_600, description="How often spools of settlers that are gone are looked for."
    )
    expire_interval_s: int = Field(
        5, ge=1, le=3_600, description="How often reservations without an entry are looked for."
    )
    postgres_pool_connections: int = Field(
        8, ge=1, le=1_000, description="Connections to Postgres of each process."
    )
    redis_pool_connections: int = Field(
        8, ge=1, le=1_000, description="Connections to Redis of each process."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, given: Any) -> Any:
        return fill_from_files(given, _SECRETS) if isinstance(given, Mapping) else given

    @field_validator("ticket_secret", "ticket_previous_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"a ticket secret needs at least {MIN_SECRET_BYTES} bytes")
        return secret

    @model_validator(mode="after")
    def _workers_have_addresses(self) -> Self:
        for name in ("authz_listen", "authz_metrics_listen"):
            try:
                for_workers(getattr(self, name), self.authz_workers)
            except ValueError as error:
                raise ValueError(f"{_variable(name)}: {error}") from error
        return self

    @property
    def authz_addresses(self) -> tuple[Address, ...]:
        """Where each worker of authorization listens."""
        return for_workers(self.authz_listen, self.authz_workers)

    def called_address(self, role: UnaryRole, worker: int) -> Address:
        """Where the gateway calls a worker of a role."""
        return self.authz_addresses[worker] if role == "authz" else self.ratelimit_listen

    @property
    def authz_metrics_addresses(self) -> tuple[Address, ...]:
        """Where each worker of authorization serves its metrics."""
        return for_workers(self.authz_metrics_listen, self.authz_workers)

    @property
    def ticket_secrets(self) -> tuple[bytes, ...]:
        """The secrets of tickets, the one that signs first; :class:`ConfigError` without any."""
        current = _required(self.ticket_secret, "ticket_secret")
        given = (current, self.ticket_previous_secret)
        return tuple(secret.get_secret_value().encode() for secret in given if secret is not None)

    @property
    def gateway_secret_text(self) -> str | None:
        """The gateway's secret in clear, or ``None``: then there is no self-service."""
        return None if self.gateway_secret is None else self.gateway_secret.get_secret_value()

    def require_postgres_dsn(self) -> str:
        """The DSN in clear; :class:`ConfigError` when it is not set."""
        return _required(self.postgres_dsn, "postgres_dsn").get_secret_value()

    def require_redis_url(self) -> str:
        """The URL of the hot copy in clear; :class:`ConfigError` when it is not set."""
        return _required(self.redis_url, "redis_url").get_secret_value()

    def require_ratelimit_redis_url(self) -> str:
        """The URL of the rate limits' Redis in clear; :class:`ConfigError` when it is not set."""
        url = self.ratelimit_redis_url or self.redis_url
        return _required(url, "ratelimit_redis_url").get_secret_value()


def load_settings(**overrides: object) -> Settings:
    """Read the settings; ``overrides`` (fields by name, from a command line) win over variables.

    Raises :class:`ConfigError` with one line for each variable that cannot be used.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic judges them
    except ValidationError as error:
        raise ConfigError("\n".join(_line(problem) for problem in error.errors())) from None
    except SettingsError as error:
        raise ConfigError(
            f"a variable that begins with {ENV_PREFIX} is no JSON: {error}"
        ) from error


class Hosting(BaseSettings):
    """What a supervisor tells the worker that it starts inside an Envoy; nothing for people."""

    model_config = SettingsConfigDict(env_prefix=HOSTED_PREFIX, frozen=True)

    role: UnaryRole
    worker: int
    control_fd: int


def load_hosting() -> Hosting:
    """Read what the supervisor told."""
    return Hosting()  # type: ignore[call-arg]  # from the environment


def hosting_environment(role: UnaryRole, worker: int, control_fd: int) -> dict[str, str]:
    """What :func:`load_hosting` reads, as variables."""
    told = Hosting(role=role, worker=worker, control_fd=control_fd)
    return {HOSTED_PREFIX + name.upper(): str(value) for name, value in told}


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment of a worker's process: this one's, with what a command line changed."""
    return {**os.environ, _variable("authz_workers"): str(settings.authz_workers)}


def read_credential(variable: str | None, path: Path | None) -> str:
    """A provider's credential, from an environment variable or from a file.

    ``tollkeeper.yaml`` names either; raises :class:`ConfigError` when it is not there.
    """
    assert (variable is None) != (path is None), "a credential has one source"
    if variable is not None:
        value = os.environ.get(variable, "")
        if not value:
            raise ConfigError(f"set the environment variable {variable}, which is not set or empty")
        return value
    assert path is not None
    try:
        return read_secret_file(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _required(secret: SecretStr | None, name: str) -> SecretStr:
    if secret is None:
        raise ConfigError(f"set {_variable(name)} or {_variable(name)}_FILE")
    return secret


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()


def _line(problem: Any) -> str:
    """One problem, without the value: it may be a secret."""
    text = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return text
    name, *inner = (str(part) for part in problem["loc"])
    return f"{_variable(name)}{''.join(f'[{part}]' for part in inner)}: {text}"

"""Certificates and keys by their files: what a listener shows, and what Envoy shows to it.

In a variable they are one JSON object of paths:
``TOLLKEEPER_AUTHZ_TLS={"certificate": "/tls/authz.pem", "key": "/tls/authz.key"}``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

TlsFile = Annotated[Path, BeforeValidator(lambda text: Path(text) if text else text)]


class _Files(BaseModel):
    """Read from an object, or from the text of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except json.JSONDecodeError:
            raise ValueError("write a JSON object of paths") from None


class ListenerTls(_Files):
    """TLS of one listener, PEM files; with ``client_ca`` only clients with a certificate of that
    authority get in (mTLS)."""

    certificate: TlsFile
    key: TlsFile
    client_ca: TlsFile | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in a stable order."""
        given = (self.certificate, self.key, self.client_ca)
        return tuple(path for path in given if path is not None)

    def uvicorn_options(self) -> dict[str, Any]:
        """The same for an HTTP server."""
        import ssl  # noqa: PLC0415 - only who listens needs it

        options: dict[str, Any] = {"ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        if self.client_ca is not None:
            options |= {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return options


class ClientTls(_Files):
    """What Envoy needs to reach our listeners over TLS; the paths are those that *Envoy* sees.

    ``ca`` signed the certificates of the listeners. ``certificate`` and ``key`` are Envoy's own,
    for mTLS. With ``server_name`` a listener's certificate must be for that DNS name.
    """

    ca: TlsFile
    certificate: TlsFile | None = None
    key: TlsFile | None = None
    server_name: str | None = None

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class TlsSettings(BaseModel):
    """The part of the settings that is TLS; a listener is in clear where nothing is set."""

    authz_tls: ListenerTls | None = Field(
        None,
        description='TLS of authorization, by grpc.aio: {"certificate": PATH, "key": PATH, '
        '"client_ca": PATH}; with client_ca only clients with a certificate get in.',
    )
    ratelimit_tls: ListenerTls | None = Field(None, description="The same for the rate limits.")
    accesslog_tls: ListenerTls | None = Field(None, description="The same for the sink.")
    admin_tls: ListenerTls | None = Field(None, description="The same for the management API.")
    metrics_tls: ListenerTls | None = Field(
        None, description="The same for metrics and health of authorization, rate limits and sink."
    )
    envoy_tls: ClientTls | None = Field(
        None,
        description='How a rendered Envoy reaches listeners with TLS: {"ca": PATH, "certificate": '
        'PATH, "key": PATH, "server_name": NAME}, as Envoy sees the files.',
    )

    def in_clear(self, role: str) -> bool:
        """Whether a role that can be hosted listens without TLS, as hosting needs it."""
        return getattr(self, f"{role}_tls") is None and self.metrics_tls is None

    @model_validator(mode="after")
    def _tls_is_not_hosted(self) -> Self:
        for role in ("authz", "ratelimit"):
            transport = getattr(self, f"{role}_transport")
            if transport == "hosted" and not self.in_clear(role):
                raise ValueError(f"{role}_transport: a hosted role listens in clear, without TLS")
        return self

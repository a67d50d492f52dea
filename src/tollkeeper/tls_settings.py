"""The part of the settings that is TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from tollkeeper.tls_files import ClientTls, ListenerTls


class TlsSettings(BaseModel):
    """A listener is in clear where nothing is set."""

    authz_tls: ListenerTls | None = Field(
        None,
        description='TLS of authorization: {"certificate": PATH, "key": PATH, '
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
    gateway_tls: ListenerTls | None = Field(
        None,
        description="The same as authz_tls for the rendered Envoy's own listener, where clients "
        "connect; as Envoy sees the files.",
    )
    gateway_tls_dir: Path | None = Field(
        None,
        description="Folder, as Envoy sees it, of the files by which it takes up renewed "
        "certificates of gateway_tls (SDS); the folder gateway-tls of home by default.",
    )
    gateway_client_tls: ClientTls | None = Field(
        None,
        description="As envoy_tls, for whoever calls the gateway here: a stack, the demo and the "
        "line to try; probe_tls where it is not set.",
    )
    probe_tls: ClientTls | None = Field(
        None,
        description="As envoy_tls, for whoever asks for health here: `doctor` and a stack; "
        "envoy_tls where it is not set.",
    )

    def called_tls(self, role: Literal["authz", "ratelimit"]) -> ListenerTls | None:
        """TLS of the port at which the gateway calls a role of unary methods."""
        return self.authz_tls if role == "authz" else self.ratelimit_tls

    @property
    def pages_tls(self) -> ClientTls | None:
        """How pages with TLS are asked; ``None``: as the system's authorities say."""
        return self.probe_tls or self.envoy_tls

    @property
    def clients_tls(self) -> ClientTls | None:
        """How a gateway with TLS is called; ``None``: as the system's authorities say."""
        return self.gateway_client_tls or self.pages_tls

    def page_url(self, listener: Literal["admin", "gateway", "metrics"], address: object) -> str:
        """Where the management API, the gateway or a role's pages are, without a path."""
        scheme = "http" if getattr(self, f"{listener}_tls") is None else "https"
        return f"{scheme}://{address}"

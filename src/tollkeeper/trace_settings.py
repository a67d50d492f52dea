"""The part of the settings that is about traces."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

from tollkeeper.setting_types import OtlpEndpoint
from tollkeeper.tls_files import ClientTls


class TraceSettings(BaseModel):
    """Where traces go, and how many of them."""

    otlp_endpoint: OtlpEndpoint | None = Field(
        None,
        description="Collector of traces, OTLP over gRPC: http://host:port or https://host:port. "
        "No traces where it is not set.",
    )
    otlp_tls: ClientTls | None = Field(
        None,
        description="How an https:// collector is reached, by the roles and by the rendered Envoy, "
        "with the keys of envoy_tls; server_name is the endpoint's host by default. The system's "
        "authorities where it is not set.",
    )
    trace_percent: int = Field(
        1, ge=0, le=100, description="Of the requests that come without a trace, and of batches."
    )

    @model_validator(mode="after")
    def _uses_tls(self) -> Self:
        endpoint = self.otlp_endpoint
        if self.otlp_tls is not None and endpoint is not None and endpoint.startswith("http://"):
            raise ValueError("TOLLKEEPER_OTLP_TLS: needs an https:// TOLLKEEPER_OTLP_ENDPOINT")
        return self

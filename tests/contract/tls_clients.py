"""Clients of listeners with TLS: gRPC and pages, with a certificate of their own or without."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Pair

SERVING = health_pb2.HealthCheckResponse.SERVING


def channel_credentials(ca: Path, own: Pair | None) -> grpc.ChannelCredentials:
    """Of a client that believes that authority."""
    if own is None:
        return grpc.ssl_channel_credentials(ca.read_bytes())
    key, chain = own.key.read_bytes(), own.certificate.read_bytes()
    return grpc.ssl_channel_credentials(ca.read_bytes(), key, chain)


async def health_of(address: str, ca: Path, own: Pair | None) -> int:
    """The status that a gRPC client hears."""
    async with grpc.aio.secure_channel(address, channel_credentials(ca, own)) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=5
        )
    return int(answer.status)


async def page(url: str, ca: Path, own: Pair | None) -> int:
    """The status of the page that says whether a process lives."""
    context = ssl.create_default_context(cafile=str(ca))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    async with httpx.AsyncClient(verify=context) as client:
        return (await client.get(f"{url}/livez")).status_code

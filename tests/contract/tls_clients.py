"""Clients of listeners with TLS: gRPC and pages, with a certificate of their own or without."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import DNS_NAME, Pair

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


def context_of(ca: Path, own: Pair | None) -> ssl.SSLContext:
    """Of a client that believes that authority."""
    context = ssl.create_default_context(cafile=str(ca))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


async def serial(address: str, ca: Path, own: Pair) -> str:
    """The serial number of the certificate that a client is shown."""
    context = context_of(ca, own)
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(
        host, int(port), ssl=context, server_hostname=DNS_NAME
    )
    shown = str(writer.get_extra_info("peercert")["serialNumber"])
    writer.close()
    return shown


async def gets_in(address: str, ca: Path, own: Pair, newest: ssl.TLSVersion) -> bool:
    """Whether a page is served to a client with that certificate, by that version of TLS."""
    context = context_of(ca, own)
    context.maximum_version = newest
    try:
        return await _get(f"https://{address}/livez", context) == httpx.codes.OK
    except httpx.TransportError:
        return False


async def page(url: str, ca: Path, own: Pair | None) -> int:
    """The status of the page that says whether a process lives."""
    return await _get(f"{url}/livez", context_of(ca, own))


async def _get(url: str, context: ssl.SSLContext) -> int:
    async with httpx.AsyncClient(verify=context) as client:
        try:
            return (await client.get(url)).status_code
        except ssl.SSLError as error:  # a refusal after the handshake, by TLS 1.3
            raise httpx.ConnectError(str(error)) from error

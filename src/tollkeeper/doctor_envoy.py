"""The doctor's look at what answers over HTTP: Envoy's admin interface and the roles' health."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import httpx

from billing.errors import Unavailable
from tollkeeper.asking_pages import page_client, trust_of
from tollkeeper.doctor import DEADLINE_S, Finding, Patient, config_of
from tollkeeper.envoy_render import render_bootstrap

_LENGTH = re.compile(r"-?\d+(\.\d+)?s")
REDACTED = "[redacted]"
"""What Envoy shows in place of a value that may be a secret (context extensions, among others)."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


async def examine_envoy(patient: Patient) -> list[Finding]:
    """It answers, and runs what would be rendered now."""
    if patient.envoy_admin_url is None:
        said = "its admin interface is not known"
        return [Finding("envoy", "skipped", said, "set TOLLKEEPER_ENVOY_ADMIN_LISTEN")]
    async with httpx.AsyncClient(base_url=patient.envoy_admin_url, timeout=DEADLINE_S) as client:
        info = await _get(client, "/server_info")
        dump = await _get(client, "/config_dump?resource=&mask=bootstrap")
    findings = [Finding("envoy", "ok", f"Envoy {_short_version(info)} is {info.get('state')}")]
    if info.get("state") != "LIVE":
        findings = [Finding("envoy", "bad", f"it is {info.get('state')}", "look at its log")]
    return [*findings, _rendered_finding(patient, dump)]


async def examine_roles(patient: Patient) -> list[Finding]:
    """Each role says of itself that it is ready, or what is wrong."""
    tls = patient.settings.pages_tls
    async with page_client(DEADLINE_S, tls, trust_of(tls)) as client:
        return [await _role_finding(client, url) for url in patient.ready_urls]


_TLS_REMEDY = "set TOLLKEEPER_PROBE_TLS, or TOLLKEEPER_ENVOY_TLS, to reach pages with TLS"


async def _role_finding(client: httpx.AsyncClient, url: str) -> Finding:
    remedy = "start it with `tollkeeper serve ROLE`, or look at its log"
    try:
        answer = await client.get(url)
    except httpx.HTTPError as error:
        said = f"{url}: {type(error).__name__} {error}".rstrip()
        return Finding("roles", "bad", said, _TLS_REMEDY if "SSL" in said else remedy)
    if answer.status_code == httpx.codes.OK:
        return Finding("roles", "ok", f"{url}: ready")
    return Finding("roles", "bad", f"{url}: {answer.text.strip()[:300]}", remedy)


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    try:
        answer = await client.get(path)
        answer.raise_for_status()
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        text = f"its admin interface does not answer: {type(error).__name__} {error}"
        raise Unavailable(text) from error
    return found if isinstance(found, dict) else {}


def _rendered_finding(patient: Patient, dump: Mapping[str, Any]) -> Finding:
    wanted = render_bootstrap(config_of(patient), patient.settings)
    running = next((c["bootstrap"] for c in dump.get("configs", []) if "bootstrap" in c), None)
    if running is None:
        return Finding("envoy", "warn", "it does not tell its bootstrap", "look at /config_dump")
    other = next(differing(comparable(wanted), comparable(running)), None)
    if other is None:
        return Finding("envoy", "ok", "it runs what `tollkeeper envoy render` writes")
    remedy = "render again and restart Envoy: `tollkeeper envoy render -o envoy.yaml`"
    return Finding("envoy", "bad", f"it runs another configuration, first at {other}", remedy)


def comparable(value: Any) -> Any:
    """A message's JSON with one way to write each value.

    Envoy leaves out what is zero, false or empty, writes 64-bit numbers as text, and adds what it
    found out about itself (its version, its extensions) to the node.
    """
    if isinstance(value, Mapping):
        inner = {str(key): comparable(part) for key, part in value.items()}
        kept = {key: part for key, part in inner.items() if part not in (None, {}, [])}
        if "user_agent_name" in kept or kept.keys() == {"id", "cluster"}:
            return {key: kept[key] for key in ("id", "cluster") if key in kept}
        return kept
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [comparable(part) for part in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, bool):
        return value or None
    if isinstance(value, int | float):
        return Decimal(str(value)) or None
    text = str(value)
    if _LENGTH.fullmatch(text):
        return f"{Decimal(text[:-1]).normalize():f}s"
    if _NUMBER.fullmatch(text):
        return Decimal(text) or None
    return text or None


def differing(wanted: Any, running: Any, path: str = "bootstrap") -> Iterator[str]:
    """Where two comparable values differ, from the top down, in a stable order."""
    if isinstance(wanted, dict) and isinstance(running, dict):
        for key in sorted(wanted.keys() | running.keys()):
            yield from differing(wanted.get(key), running.get(key), f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(running, list) and len(wanted) == len(running):
        for number, (one, other) in enumerate(zip(wanted, running, strict=True)):
            yield from differing(one, other, f"{path}[{number}]")
    elif running not in (wanted, REDACTED):
        yield path


def _short_version(info: Mapping[str, Any]) -> str:
    parts = str(info.get("version", "")).split("/")
    return parts[1] if len(parts) > 1 else "of an unknown version"

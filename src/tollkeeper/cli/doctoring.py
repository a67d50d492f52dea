"""``tollkeeper doctor``: whom to examine, and how the findings look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from billing.errors import ConfigError
from tollkeeper.cli.doing import STACK_FILE, settings_here
from tollkeeper.cli.showing import show_json, show_table

if TYPE_CHECKING:
    from tollkeeper.doctor import Finding, Patient
    from tollkeeper.settings import Settings


async def examine_here() -> list[Finding]:
    """Examine what the settings name, or the stack that runs here."""
    from tollkeeper import doctor, doctor_certificates, doctor_envoy

    return await doctor.examine(
        _patient(settings_here()),
        (
            doctor.examine_configuration,
            doctor.examine_postgres,
            doctor.examine_books,
            doctor.examine_prices,
            doctor.examine_redis,
            doctor_envoy.examine_envoy,
            doctor_envoy.examine_roles,
            doctor_certificates.examine_certificates,
        ),
    )


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print each finding with what to do about it."""
    if as_json:
        show_json(findings)
        return
    rows = [(f.verdict.upper(), f.part, f.seen, f.remedy) for f in findings]
    show_table(("", "part", "seen", "what to do"), rows)
    wrong = sum(finding.verdict == "bad" for finding in findings)
    count = "1 thing is" if wrong == 1 else f"{wrong} things are"
    typer.echo(f"doctor: {count} wrong" if wrong else "doctor: all is well")


def _patient(settings: Settings) -> Patient:
    """Where to look: what a running stack says of itself goes before the defaults."""
    from tollkeeper.doctor import Patient

    stack = _stack(settings)
    if stack:
        metrics = [str(url) for url in stack.get("metrics", [])]
        ready = [url.removesuffix("/metrics") + "/readyz" for url in metrics]
        return Patient(_as_stack(settings, stack), str(stack["envoy_admin"]), ready)
    admin = settings.envoy_admin_listen
    addresses = (
        *settings.authz_metrics_addresses,
        settings.ratelimit_metrics_listen,
        settings.accesslog_metrics_listen,
    )
    roles = [settings.page_url("metrics", address) for address in addresses if not address.path]
    if not settings.admin_listen.path:
        roles.append(settings.page_url("admin", settings.admin_listen))
    ready = [f"{role}/readyz" for role in roles]
    return Patient(settings, None if admin is None else f"http://{admin}", ready)


def _stack(settings: Settings) -> dict[str, Any]:
    """What the stack that runs in the data directory says of itself; empty when none does."""
    path = settings.home / STACK_FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _as_stack(settings: Settings, stack: Mapping[str, Any]) -> Settings:
    """The settings with the addresses at which the running stack listens."""
    from tollkeeper.addresses import parse_address, parse_addresses

    return settings.model_copy(
        update={
            "gateway_listen": parse_address(_host_port(stack["gateway"])),
            "envoy_admin_listen": parse_address(_host_port(stack["envoy_admin"])),
            "authz_workers": len(stack["authz_workers"]),
            "authz_listen": parse_addresses(",".join(stack["authz_workers"])),
            "ratelimit_listen": parse_address(stack["ratelimit"]),
            "accesslog_listen": parse_address(stack["accesslog"]),
            "envoy_access_log_file": Path(stack["access_log"]),
            "upstream_urls": stack["upstream_urls"],
        }
    )


def _host_port(url: str) -> str:
    return url.partition("://")[2]

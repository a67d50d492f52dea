"""The doctor's look at certificates: an installation whose certificates end stands still at once,
and nobody hears of it before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from tollkeeper.doctor import Finding, Patient, Verdict
from tollkeeper.settings import Settings
from tollkeeper.tls_files import ClientTls, ListenerTls, RedisTls, read_tls_file

SOON = timedelta(days=14)
"""Renewal by machine comes earlier (Let's Encrypt: 30 days), by hand it takes a week."""
RENEW = "renew it; files are taken up while everything runs (docs/security.md)"


async def examine_certificates(patient: Patient) -> list[Finding]:
    """Every certificate that the settings name holds now, and for a while yet."""
    now = datetime.now(UTC)
    findings = [
        judge_certificate(name, certificate, now)
        for name, path in certificate_files(patient.settings)
        for certificate in _read(path)
    ]
    if findings and all(finding.verdict == "ok" for finding in findings):
        return [Finding("certificates", "ok", f"{len(findings)} hold for {SOON.days} days or more")]
    return [finding for finding in findings if finding.verdict != "ok"]


def certificate_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files with certificates, by the setting that names them."""
    for name in type(settings).model_fields:
        given = getattr(settings, name)
        if not isinstance(given, ListenerTls | ClientTls | RedisTls):
            continue
        for part in ("certificate", "ca", "client_ca"):
            path = getattr(given, part, None)
            if path is not None:
                yield f"{name}.{part}", path


def judge_certificate(name: str, certificate: x509.Certificate, now: datetime) -> Finding:
    """Whether one is in force, and for how long."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begins > now:
        said = f"{name} is not in force before {begins:%Y-%m-%d %H:%MZ}"
        return Finding("certificates", "bad", said, "look at the clock of whoever issued it")
    if ends <= now:
        return Finding("certificates", "bad", f"{name} ended at {ends:%Y-%m-%d %H:%MZ}", RENEW)
    verdict: Verdict = "ok" if ends - now >= SOON else "warn"
    return Finding("certificates", verdict, f"{name} ends at {ends:%Y-%m-%d %H:%MZ}", RENEW)


def _read(path: Path) -> list[x509.Certificate]:
    """All of a file: a chain ends with its first link that ends."""
    try:
        return x509.load_pem_x509_certificates(read_tls_file(path))
    except ValueError:
        return []  # its listener says so, and does not start

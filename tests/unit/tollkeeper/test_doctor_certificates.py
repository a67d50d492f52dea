"""The doctor's look at certificates: in order, soon over, over, and not yet in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.certificates import Authority
from tollkeeper.doctor import Patient
from tollkeeper.doctor_certificates import examine_certificates, judge_certificate
from tollkeeper.settings import Settings, load_settings
from tollkeeper.tls_files import ClientTls, ListenerTls


def guarded(folder: Path, lives: timedelta) -> Settings:
    """Settings with a listener whose certificate ends then, and a client with one that lasts."""
    authority = Authority(folder)
    soon, long = authority.issue("listener", lives), authority.issue("client")
    tls = ListenerTls(certificate=soon.certificate, key=soon.key, client_ca=authority.ca)
    client = ClientTls(ca=authority.ca, certificate=long.certificate, key=long.key)
    return load_settings(authz_tls=tls, envoy_tls=client)


@pytest.mark.parametrize(
    ("lives", "verdict", "said"),
    [
        (timedelta(days=20), "ok", "4 hold for 14 days or more"),
        (timedelta(days=3), "warn", "authz_tls.certificate ends at"),
        (timedelta(hours=-1), "bad", "authz_tls.certificate ended at"),
    ],
)
async def test_a_certificate_is_judged_by_its_end(
    tmp_path: Path, lives: timedelta, verdict: str, said: str
) -> None:
    """Told before it ends, with the setting that names it; in order it is one line for all."""
    (found,) = await examine_certificates(Patient(guarded(tmp_path, lives), None, ()))
    assert found.verdict == verdict
    assert found.seen.startswith(said)
    assert bool(found.remedy) is (verdict != "ok")


async def test_without_certificates_there_is_nothing_to_say() -> None:
    """Loopback and Unix sockets need none."""
    assert await examine_certificates(Patient(load_settings(), None, ())) == []


def test_one_that_is_not_in_force_yet_is_wrong(tmp_path: Path) -> None:
    """Handshakes fail until then, which is a clock's fault more often than not."""
    (certificate,) = x509.load_pem_x509_certificates(Authority(tmp_path).ca.read_bytes())
    before = datetime.now(UTC) - timedelta(days=2)
    finding = judge_certificate("envoy_tls.ca", certificate, before)
    assert finding.verdict == "bad"
    assert "not in force before" in finding.seen


async def test_a_file_that_holds_no_certificate_is_its_listeners_to_tell(tmp_path: Path) -> None:
    """The role does not start with it, and says why."""
    settings = guarded(tmp_path, timedelta(days=20))
    assert settings.authz_tls is not None
    settings.authz_tls.certificate.write_text("nothing")
    (found,) = await examine_certificates(Patient(settings, None, ()))
    assert found.seen == "3 hold for 14 days or more"

"""What the doctor would say, for Prometheus: the role ``admin`` looks at each part every minute.

``tollkeeper doctor`` says what to do. What only an operator's machine can reach (the health pages
of all roles, which Prometheus asks itself) is left to it, and so is what only other roles are told
(the ticket secret).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

import structlog
from prometheus_client import CollectorRegistry, Gauge

from tollkeeper import doctor, doctor_certificates, doctor_envoy
from tollkeeper.doctor import Examination, Finding, Patient, Verdict
from tollkeeper.settings import Settings

log = structlog.get_logger("doctor")
INTERVAL_S = 60.0
"""What it looks for changes by somebody's hand, and is told by an alert after ten minutes."""
PARTS = ("postgres", "books", "prices", "redis", "envoy", "certificates")


def patient_of(settings: Settings) -> Patient:
    """Everything that this role's settings name, but the other roles."""
    admin = settings.envoy_admin_listen
    return Patient(settings, None if admin is None else f"http://{admin}", ())


def examinations_for(patient: Patient) -> Sequence[Examination]:
    """Without a Redis in the settings of this role there is none to be examined."""
    redis = () if patient.settings.redis_url is None else (doctor.examine_redis,)
    return (
        doctor.examine_postgres,
        doctor.examine_books,
        doctor.examine_prices,
        *redis,
        doctor_envoy.examine_envoy,
        doctor_certificates.examine_certificates,
    )


class DoctorWatch:
    """Examines for ever; a fault that is no finding of its part ends it, and its owner hears."""

    def __init__(
        self,
        patient: Patient,
        registry: CollectorRegistry,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._patient = patient
        self._sleep = sleep
        self._findings = Gauge(
            "tollkeeper_doctor_findings",
            "What `tollkeeper doctor` would say now, by part and verdict.",
            ["part", "verdict"],
            registry=registry,
        )
        self._show(())

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await self._sleep(INTERVAL_S)

    async def look(self) -> None:
        """Examine every part once; what is wrong is logged with what to do."""
        findings = await doctor.examine(self._patient, examinations_for(self._patient))
        self._show(findings)
        for finding in findings:
            if finding.verdict == "bad":
                log.warning(finding.seen, part=finding.part, remedy=finding.remedy)

    def _show(self, findings: Sequence[Finding]) -> None:
        found = Counter((finding.part, finding.verdict) for finding in findings)
        for part in PARTS:
            for verdict in get_args(Verdict):
                self._findings.labels(part, verdict).set(found[part, verdict])

"""Everything that may go wrong here, as one tree:

RatelimitError
├── InvalidRequest    the caller's fault; gRPC says INVALID_ARGUMENT, HTTP 400
├── StoreUnavailable  the counters did not answer in time; the domain's declared answer is given
├── RulesRefused      files of rules that cannot be loaded; carries every finding
└── SettingRefused    a setting that makes no sense, named with its value

A request over its limit is none of these: it is a value (:mod:`ratelimit.decision`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RatelimitError(Exception):
    """Base of every fault of this package."""


class InvalidRequest(RatelimitError):
    """The request breaks the protocol: no domain, no descriptors, too many of them."""


class StoreUnavailable(RatelimitError):
    """The counters cannot be had now. ``reason`` is one of a few words, fit for a metric's
    label.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class SettingRefused(RatelimitError):
    """A setting has a value that nothing can be built from."""


class Finding(NamedTuple):
    """One remark about a file of rules. ``line`` counts from 1; an ``error`` refuses the file."""

    file: str
    line: int
    severity: str  # "error" or "warning"
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.message}"


class RulesRefused(RatelimitError):
    """The files of rules have errors; the rules that were in force stay so."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(str(finding) for finding in findings))
        self.findings = tuple(findings)

"""What is wrong, or odd, with a directory of rules; for ``tollkeeper ratelimit lint DIR``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ratelimit.errors import Finding, RulesRefused
from ratelimit.rule_files import load_directory


def lint(directory: Path, *, merge_domains: bool = False) -> Sequence[Finding]:
    """Every error and warning by file and line; none with severity ``error`` means it loads."""
    try:
        findings: Sequence[Finding] = load_directory(
            directory, merge_domains=merge_domains
        ).warnings
    except RulesRefused as refused:
        findings = refused.findings
    return sorted(findings, key=lambda finding: (finding.file, finding.line))

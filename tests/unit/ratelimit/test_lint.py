"""What is wrong with a directory of rules."""

from __future__ import annotations

from pathlib import Path

from ratelimit.lint import lint


def test_findings_in_order(tmp_path: Path) -> None:
    """Errors and warnings of all files, by file and line."""
    (tmp_path / "b.yaml").write_text("domain: b\nx: 1\n")
    text = (
        "domain: a\nunit: day\ndescriptors:\n- {key: k, rate_limit: {unit: day}}\n- {key: 5, y: 1}"
    )
    (tmp_path / "a.yaml").write_text(text)
    findings = [f"{f.file}:{f.line} {f.severity}" for f in lint(tmp_path)]
    assert findings == ["a.yaml:2 warning", "a.yaml:4 warning", "a.yaml:5 error", "b.yaml:2 error"]


def test_nothing_to_say(tmp_path: Path) -> None:
    """A clean directory has no findings."""
    (tmp_path / "a.yaml").write_text("domain: a\n")
    assert lint(tmp_path) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """Is an error, not an exception."""
    (finding,) = lint(tmp_path / "nowhere")
    assert finding.severity == "error"

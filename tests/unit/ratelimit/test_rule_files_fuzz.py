"""Files of rules that hold anything at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.errors import RulesRefused
from ratelimit.rule_files import load_texts

_words = st.sampled_from(
    [
        "domain:",
        "descriptors:",
        "-",
        "key:",
        "value:",
        "rate_limit:",
        "unit:",
        "day",
        "requests_per_unit:",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&",
        "*",
        "!",
        "|",
        ">",
        "'",
        '"',
        "#",
        "?",
        ":",
        "<<",
        "&a",
        "*a",
        "%YAML",
        "---",
        "...",
        "!!map",
        "!!int",
        "1",
        "-1",
        "0x",
        ".inf",
        "~",
        "null",
        "true",
        "metadata:",
        "replaces:",
        "parameter:",
        "burst",
        "algorithm:",
        "token_bucket",
        "é",
        "\t",
    ]
)
_texts = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.tuples(_words, st.sampled_from(["", " ", "\n", "\n  ", "\n    "])), max_size=40
    ).map(lambda pairs: "domain: d\ndescriptors:\n" + "".join(a + b for a, b in pairs)),
)


@given(_texts)
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    """Whatever a file holds, it is a set of rules or a list of findings."""
    try:
        found = len(load_texts({"f.yaml": text}).domains)
    except RulesRefused as refused_file:
        found = sum(finding.line >= 1 for finding in refused_file.findings)
    assert found >= 1

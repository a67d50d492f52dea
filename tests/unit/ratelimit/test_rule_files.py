"""Files of rules: what they may say, and what is refused with file and line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from ratelimit.algorithms import Algorithm
from ratelimit.errors import RulesRefused
from ratelimit.limits import Limit
from ratelimit.rule_files import load_directory, load_texts
from ratelimit.rules import RuleSet
from ratelimit.units import Unit

HEAD = "domain: d\ndescriptors:\n"
DAY = "unit: day, requests_per_unit: 1"
MONTH = "unit: month, requests_per_unit: 1"


def load(text: str) -> RuleSet:
    """The rules of one file."""
    return load_texts({"f.yaml": textwrap.dedent(text)})


def refused(*texts: str) -> list[str]:
    """What is said about files that have errors."""
    with pytest.raises(RulesRefused) as caught:
        load_texts({f"f{number}.yaml": text for number, text in enumerate(texts)})
    return [str(finding) for finding in caught.value.findings]


def limit_of(said: str) -> Limit:
    """The limit of a rate_limit in flow style."""
    rules = load(f"domain: d\ndescriptors:\n  - {{key: k, rate_limit: {said}}}\n")
    ((_, rule),) = rules.rules()
    assert rule.limit is not None
    return rule.limit


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{unit: second, requests_per_unit: 5}", Limit(5, Unit.SECOND)),
        ("{unit: MINUTE, requests_per_unit: 0x10}", Limit(16, Unit.MINUTE)),
        ("{unit: Hour, requests_per_unit: 1_000}", Limit(1000, Unit.HOUR)),
        ("{unit: day, requests_per_unit: 4294967295}", Limit(2**32 - 1, Unit.DAY)),
        ("{unit: week, requests_per_unit: 0}", Limit(0, Unit.WEEK)),
        (
            "{unit: month, requests_per_unit: 5, calendar: yes}",
            Limit(5, Unit.MONTH, calendar=True),
        ),
        (
            "{unit: month, requests_per_unit: 5, billing_day: 31}",
            Limit(5, Unit.MONTH, calendar=True, billing_day=31),
        ),
        (
            "{unit: year, requests_per_unit: 5, count_refused: false}",
            Limit(5, Unit.YEAR, count_refused=False),
        ),
        (
            "{unit: second, requests_per_unit: 5, algorithm: token_bucket, burst: 9}",
            Limit(5, Unit.SECOND, Algorithm.TOKEN_BUCKET, 9, count_refused=False),
        ),
        (
            "{unit: week, requests_per_unit: 5, algorithm: sliding_window, calendar: true}",
            Limit(5, Unit.WEEK, Algorithm.SLIDING_WINDOW, calendar=True, count_refused=False),
        ),
    ],
)
def test_limits(said: str, expected: Limit) -> None:
    """Every unit and every way of counting; units in any case of letters."""
    assert limit_of(said) == expected


@pytest.mark.parametrize(
    ("item", "line", "message"),
    [
        ("- {value: v}", 3, "needs a key"),
        ("- {key: ''}", 3, "needs a key"),
        ("- key: k\n    ratelimit: {}", 4, "unknown field 'ratelimit'"),
        ("- {key: k, rate_limit: {unit: fortnight, requests_per_unit: 1}}", 3, "'fortnight'"),
        ("- {key: k, rate_limit: {unit: unknown, requests_per_unit: 1}}", 3, "'unknown'"),
        ("- {key: k, rate_limit: {requests_per_unit: 1}}", 3, "unit must be one of"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: -1}}", 3, "from 0 to 4294967295"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: 4294967296}}", 3, "from 0 to"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: " + "9" * 99 + "}}", 3, "from 0"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: 1.5}}", 3, "whole number"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: '5'}}", 3, "whole number"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: 012}}", 3, "whole number"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: many}}", 3, "whole number"),
        ("- {key: k, rate_limit: {unit: day, unlimited: true}}", 3, "cannot have a unit"),
        ("- {key: k, rate_limit: {unlimited: perhaps}}", 3, "true or false"),
        ("- {key: k, rate_limit: [1]}", 3, "expected fields"),
        ("- {key: k, shadow_mode: 3}", 3, "true or false"),
        ("- {key: k, value: v, share_threshold: true}", 3, "needs a value with a `*`"),
        ("- {key: k, descriptors: {}}", 3, "expected a list"),
        ("- a", 3, "expected fields"),
        ("- {0.25: k}", 3, "must be text"),
        ("- {key: [k]}", 3, "expected a text"),
        ("- {key: k, key: l}", 3, "stands here twice"),
        ("- {key: k, metadata: 5}", 3, "metadata must be fields"),
        ("- {key: k}\n  - {key: k}", 4, "'k' stands here twice"),
        ("- {key: k, value: v}\n  - {key: k, value: v}", 4, "with value 'v' stands here twice"),
        ("- {key: k, value: v*}\n  - {key: k, value: v*}", 4, "with value 'v*' stands here twice"),
        (
            f"- {{key: k, rate_limit: {{{DAY}, name: n, replaces: [{{name: n}}]}}}}",
            3,
            "cannot replace itself",
        ),
        (
            "- {key: k, rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: ''}]}}",
            3,
            "needs a name",
        ),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: 1, algorithm: magic}}", 3, "magic"),
        ("- {key: k, rate_limit: {unit: day, requests_per_unit: 1, burst: 3}}", 3, "token_bucket"),
        (
            f"- {{key: k, rate_limit: {{{DAY}, algorithm: token_bucket, burst: 0}}}}",
            3,
            "from 1 to",
        ),
        (
            "- {key: k, rate_limit: {unit: month, requests_per_unit: 1, billing_day: 32}}",
            3,
            "from 1 to 31",
        ),
        (
            "- {key: k, rate_limit: {unit: day, requests_per_unit: 1, billing_day: 3}}",
            3,
            "only a month",
        ),
        (
            "- {key: k, rate_limit: {unit: day, requests_per_unit: 1, calendar: true}}",
            3,
            "a week, a month or a year",
        ),
        (
            f"- {{key: k, rate_limit: {{{MONTH}, calendar: true, algorithm: token_bucket}}}}",
            3,
            "calendar needs",
        ),
        ("- {key: k, parameter: burst}", 3, "one level above"),
        ("- {key: k, parameter: colour}", 3, "burst, quoted_hits"),
    ],
)
def test_what_is_refused(item: str, line: int, message: str) -> None:
    """With the file, the line and a sentence that says what is wrong."""
    found = [text for text in refused(HEAD + "  " + item) if message in text]
    assert found
    assert found[0].startswith(f"f0.yaml:{line}: error: ")


def test_parameters_fit_their_limit() -> None:
    """A burst needs a bucket, and below a parameter only parameters stand."""
    rate = f"rate_limit: {{{DAY}}}"
    burst = f"{HEAD}- {{key: k, {rate}, descriptors: [{{key: b, parameter: burst}}]}}"
    assert "only a token_bucket has a burst" in refused(burst)[0]
    below = f"""
domain: d
descriptors:
- key: k
  {rate}
  descriptors:
  - key: q
    parameter: quoted_hits
    shadow_mode: true
    descriptors: [{{key: x, {rate}}}]
"""
    texts = refused(below)
    assert any("cannot have shadow_mode" in text for text in texts)
    assert any("only parameters can follow" in text for text in texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f0.yaml:1: error: a file needs a domain"),
        ("descriptors: []", "f0.yaml:1: error: a file needs a domain"),
        ("domain: ''", "f0.yaml:1: error: a file needs a domain"),
        ("- a\n- b", "f0.yaml:1: error: expected fields"),
        ("domain: d\ndescriptors: [\n", "f0.yaml:3: error: not YAML"),
        ("domain: d\nversion: 2\n", "f0.yaml:2: error: unknown field 'version'"),
        ("domain: d\non_failure: pray\n", "f0.yaml:2: error: expected one of deny, allow"),
        ("domain: d\n---\ndomain: e\n", "f0.yaml:2: error: not YAML"),
        ("domain: \0\n", "f0.yaml:1: error: not YAML"),
        ("domain: !!python/object:os.system d", "f0.yaml"),
    ],
)
def test_what_is_refused_of_a_whole_file(text: str, message: str) -> None:
    """No domain, not YAML, more than one document, fields that nobody knows."""
    if "python" in text:
        assert load_texts({"f0.yaml": text}).domains.keys() == {"d"}  # a tag calls nothing
        return
    assert refused(text)[0].startswith(message)


def test_a_domain_has_one_file() -> None:
    """The second file is named with its line, and the first one it collides with."""
    texts = refused("domain: d\n", "\ndomain: d\n")
    assert texts == ["f1.yaml:2: error: domain 'd' is in f0.yaml already"]


def test_files_of_a_domain_can_be_merged() -> None:
    """Where the setting says so, several files give one domain; duplicates are refused still."""
    one, other = HEAD + "  - {key: a}\n", HEAD + "  - {key: b}\n"
    rules = load_texts({"a.yaml": one, "b.yaml": other}, merge_domains=True)
    assert sorted(rules.domains["d"].root.any_value) == ["a", "b"]
    with pytest.raises(RulesRefused, match=r"b\.yaml:3: error: descriptor 'a' stands here twice"):
        load_texts({"a.yaml": one, "b.yaml": one}, merge_domains=True)


def test_every_error_is_told_at_once() -> None:
    """Not only the first one, and not only the first file's."""
    texts = refused(HEAD + "  - {key: '', value: x}\n  - {key: k, sort: 1}\n", "domain: d2\nx: 1\n")
    assert [text.partition(" error")[0] for text in texts] == [
        "f0.yaml:3:",
        "f0.yaml:4:",
        "f1.yaml:2:",
    ]


def test_known_fields_in_the_wrong_place_are_ignored_with_a_warning() -> None:
    """envoyproxy/ratelimit starts with such a file and does not look at the field."""
    rules = load("""
        domain: d
        descriptors:
          - key: k
            unit: day
            rate_limit: {unit: day, requests_per_unit: 1, shadow_mode: true}
        """)
    assert [str(warning) for warning in rules.warnings] == [
        "f.yaml:5: warning: field 'unit' has no meaning here and is ignored",
        "f.yaml:6: warning: field 'shadow_mode' has no meaning here and is ignored",
    ]
    assert not next(rules.rules())[1].shadow_mode


def test_odd_rules_are_remarked_upon() -> None:
    """A limit of nothing, a name that nobody has, a star in a key, a pattern that is never
    reached.
    """
    rules = load("""
        domain: d
        descriptors:
          - key: a*
            rate_limit: {unit: day}
          - key: k
            rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: nobody}]}
          - {key: w, value: x*}
          - {key: w, value: xy*}
        """)
    text = "\n".join(str(warning) for warning in rules.warnings)
    assert "f.yaml:4: warning: the `*` in key 'a*' is taken literally" in text
    assert "f.yaml:5: warning: no requests_per_unit: everything is refused" in text
    assert "f.yaml:7: warning: no limit of this domain has the name 'nobody'" in text
    assert "f.yaml:9: warning: 'xy*' is never reached: 'x*' comes first" in text


def test_values_are_the_text_that_stands_there() -> None:
    """Numbers, booleans and versions as values are taken as they are written."""
    rules = load("""
        domain: 1.10
        descriptors:
          - {key: port, value: 8080}
          - {key: flag, value: true}
          - {key: zero, value: 007}
        """)
    assert set(rules.domains["1.10"].root.exact) == {
        ("port", "8080"),
        ("flag", "true"),
        ("zero", "007"),
    }


def test_anchors_and_merged_fields() -> None:
    """What YAML offers for saying a thing once works; a field's own value wins over a merged
    one.
    """
    rules = load("""
        domain: d
        descriptors:
          - key: a
            rate_limit: &usual {unit: minute, requests_per_unit: 5}
          - key: b
            rate_limit: *usual
          - key: c
            rate_limit:
              <<: *usual
              requests_per_unit: 9
          - key: again
            rate_limit: &usual {unit: hour, requests_per_unit: 1}
        """)
    found = {rule.label: rule.limit for _, rule in rules.rules()}
    assert found["b"] == Limit(5, Unit.MINUTE)
    assert found["c"] == Limit(9, Unit.MINUTE)


def test_a_file_cannot_describe_an_endless_tree() -> None:
    """An alias to itself, and aliases that double at each level, are refused in a moment."""
    assert (
        "nested deeper" in refused("domain: d\ndescriptors: &x\n  - {key: k, descriptors: *x}\n")[0]
    )
    doubled = "domain: d\ndescriptors:\n  - key: k0\n    descriptors: &d0 [{key: x}]\n"
    for level in range(1, 30):
        pair = f"[{{key: l, descriptors: *d{level - 1}}}, {{key: r, descriptors: *d{level - 1}}}]"
        doubled += f"  - key: k{level}\n    descriptors: &d{level} {pair}\n"
    with pytest.raises(RulesRefused, match="too many descriptors"):
        load_texts({"f.yaml": doubled}, descriptors_max=1000)


def test_metadata_is_any_json() -> None:
    """Nested fields, lists, numbers, truth and nothing."""
    rules = load("""
        domain: d
        descriptors:
          - key: k
            metadata: {tier: gold, weights: [1, 2.5, null], deep: {yes: true}, nan: .nan}
            rate_limit: {unit: day, requests_per_unit: 1}
        """)
    metadata = next(rules.rules())[1].metadata
    assert metadata == {
        "tier": "gold",
        "weights": [1, 2.5, None],
        "deep": {"yes": True},
        "nan": ".nan",
    }


def test_how_a_domain_answers() -> None:
    """What the file says about the domain as a whole."""
    rules = load("domain: d\nall_or_nothing: true\non_failure: Deny\none_slot: true\n")
    domain = rules.domains["d"]
    assert (domain.all_or_nothing, domain.on_failure, domain.one_slot) == (True, "deny", True)
    plain = load("domain: d\n").domains["d"]
    assert (plain.all_or_nothing, plain.on_failure, plain.one_slot) == (False, None, False)


def test_a_directory_is_its_yaml_files(tmp_path: Path) -> None:
    """Other files, hidden ones and directories are left alone; links are followed."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "linked").write_text("domain: linked\n")
    (tmp_path / "linked.yaml").symlink_to(tmp_path / "..data" / "linked")
    (tmp_path / "b.yml").write_text("domain: b\n")
    (tmp_path / ".hidden.yaml").write_text("not: ours\n")
    (tmp_path / "notes.txt").write_text("not: ours\n")
    (tmp_path / "sub.yaml").mkdir()
    assert sorted(load_directory(tmp_path).domains) == ["b", "linked"]


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, not UTF-8 or far too large: refused with the file's name."""
    with pytest.raises(RulesRefused, match="nowhere:1: error: cannot be read"):
        load_directory(tmp_path / "nowhere")
    (tmp_path / "latin.yaml").write_bytes(b"domain: \xe9\n")
    with pytest.raises(RulesRefused, match=r"latin\.yaml:1: error: cannot be read"):
        load_directory(tmp_path)
    with (tmp_path / "latin.yaml").open("wb") as huge:
        huge.truncate(33 * 2**20)
    with pytest.raises(RulesRefused, match="larger than"):
        load_directory(tmp_path)


def test_our_own_rules_load_without_a_warning() -> None:
    """The directory that the example serves."""
    rules = load_directory(Path(__file__).parents[3] / "ratelimit.d")
    assert sorted(rules.domains) == ["tokens", "tollkeeper"]
    assert rules.warnings == []

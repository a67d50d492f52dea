"""YAML as values that keep their lines and their digits."""

from pathlib import Path

import pytest

from billing.errors import ConfigError
from tollkeeper.config import document
from tollkeeper.config.document import MAX_PROBLEMS, Problem, read_document


def write(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text)
    return path


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    """A number with a point stays the text that it is, so that no float is ever made of it."""
    path = write(tmp_path, "a: 0.15\nb: '0.15'\nc: 3\nd: 1e5\ne: true\nf: ~\ng: yes\n")
    assert read_document(path).value == {
        "a": "0.15",
        "b": "0.15",
        "c": 3,
        "d": "1e5",
        "e": True,
        "f": None,
        "g": "yes",
    }


def test_every_value_has_its_line(tmp_path: Path) -> None:
    """A value, or what surrounds a missing one, is found by its key."""
    document = read_document(write(tmp_path, "a:\n  b:\n  - 1\n  - c: 2\n"))
    assert document.line_of(("a", "b", 1, "c")) == 4
    assert document.line_of(("a", "b", 1, "missing")) == 4
    assert document.line_of(("missing",)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", ":2: a: stands twice"),
        ("a: 1\nb: !new 2\n", ":2: b: the tag !new is not known"),
        ("a: !!python/object/apply:os.system ['x']\n", ":1: a: the tag"),
        ("a: 0x10\n", ":1: a: 0x10 is no number that we read"),
        ("a: 99999999999999999999999\n", "is no number that we read"),
        ("a:\n  ? [1, 2]\n  : 3\n", ":2: a: a key must be one word"),
        ("a: [1\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
        ("[" * 300, "not YAML|nested too deeply"),
    ],
)
def test_what_is_no_usable_yaml_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """Each fault is one line with its place."""
    with pytest.raises(ConfigError, match=problem) as caught:
        read_document(write(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 1


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """A file with two faults gives two lines."""
    with pytest.raises(ConfigError) as caught:
        read_document(write(tmp_path, "a: 0x1\nb: 0x2\n"))
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["1", "2"]


def test_no_more_lines_than_a_person_reads(tmp_path: Path) -> None:
    """Beyond fifty problems only their number is told."""
    document = read_document(write(tmp_path, "a: 1\n"))
    found = str(document.error([Problem(("a",), f"bad {i:03d}") for i in range(80)])).splitlines()
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].endswith("and 30 more")


def test_aliases_cannot_make_a_file_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that aliases repeat are counted each time, up to a bound; here a hundredth of it."""
    most = document.MAX_NODES // 100
    monkeypatch.setattr(document, "MAX_NODES", most)
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    with pytest.raises(ConfigError, match=f"more than {most} values"):
        read_document(write(tmp_path, "\n".join(lines)))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and one that is not UTF-8 are faults with the file's name."""
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        read_document(tmp_path / "gone.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: .*UTF-8"):
        read_document(path)


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    """Nothing at all reads like a file without keys."""
    assert read_document(write(tmp_path, "# nothing\n")).value == {}

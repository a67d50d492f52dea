"""YAML as plain values that keep the line each came from, and numbers that keep their digits.

The file is read as a tree of nodes, never as Python objects: so every error can name its line, a
key that stands twice is noticed, and ``0.15`` stays the text ``0.15`` until a money type reads it
digit by digit. No float is ever made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from billing.errors import ConfigError

MAX_FILE_BYTES = 4 << 20
"""A larger file is a mistake; ten thousand models fit into a quarter of it."""

MAX_NODES = 200_000
"""Values of one file, repeated aliases counted each time, so that a small file cannot grow huge."""

MAX_PROBLEMS = 50
"""More than fifty lines help nobody."""

Key = tuple[str | int, ...]
"""Where a value stands: keys of mappings and positions in lists, outermost first."""

_WHOLE = re.compile(r"[-+]?[0-9]{1,19}")
_TAGS = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that cannot be: where it stands, and what to do about it."""

    key: Key
    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """The values of one file and, for each, its line (the first is 1)."""

    path: Path
    value: object
    lines: Mapping[Key, int]

    def line_of(self, key: Key) -> int:
        """The line of a value; of what surrounds it where the value is missing."""
        while key not in self.lines and key:
            key = key[:-1]
        return self.lines.get(key, 1)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """All problems as one fault, a line each: ``file:line: key: what to do``."""
        found = [(p.line or self.line_of(p.key), written(p.key), p.text) for p in problems]
        shown = [f"{self.path}:{line}: {key}: {text}" for line, key, text in sorted(set(found))]
        more = len(shown) - MAX_PROBLEMS
        shown[MAX_PROBLEMS:] = [f"{self.path}: and {more} more"] if more > 0 else []
        return ConfigError("\n".join(shown))


def written(key: Key) -> str:
    """A key as people write it: ``prices[0].tariffs.chat``; the whole file is ``(file)``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(file)"


def read_document(path: Path) -> Document:
    """Read a YAML file; raises :class:`ConfigError` with every line that is no usable YAML."""
    text = _read_text(path)
    reader = _Reader()
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        value = reader.value_of(root, ()) if root is not None else {}
    except MarkedYAMLError as error:
        raise ConfigError(_syntax(path, error)) from None
    except YAMLError as error:
        raise ConfigError(f"{path}:1: (file): not YAML: {error}".splitlines()[0]) from None
    except RecursionError:
        raise ConfigError(f"{path}:1: (file): nested too deeply") from None
    document = Document(path, value, reader.lines)
    if reader.problems:
        raise document.error(reader.problems)
    return document


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: (file): not UTF-8; save the file as UTF-8") from error


def _syntax(path: Path, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    return f"{path}:{line}: (file): not YAML: {error.problem or error.context}"


class _Reader:
    """Turns nodes into values; keeps lines, and problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.lines: dict[Key, int] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def value_of(self, node: Node, key: Key) -> object:
        self._nodes += 1
        self.lines.setdefault(key, node.start_mark.line + 1)
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self._refuse(node, key, f"more than {MAX_NODES} values; aliases count each time")
            return None
        tag = str(node.tag).removeprefix(_TAGS)
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, key)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.value_of(child, (*key, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, tag, key)

    def _mapping(self, node: MappingNode, key: Key) -> dict[str, object]:
        values: dict[str, object] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, ScalarNode):
                self._refuse(name_node, key, "a key must be one word")
                continue
            name = str(name_node.value)
            if name in values:
                self._refuse(name_node, (*key, name), "stands twice; remove one of them")
                continue
            self.lines[(*key, name)] = name_node.start_mark.line + 1
            values[name] = self.value_of(value_node, (*key, name))
        return values

    def _scalar(self, node: Node, tag: str, key: Key) -> object:
        """Text, whole numbers and booleans; a number with a point stays the text that it is."""
        text = str(node.value)
        match tag:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if _WHOLE.fullmatch(text):
                return int(text)
            case "int":
                self._refuse(node, key, f"{text} is no number that we read; write decimal digits")
            case "str" | "float" | "timestamp":
                return text
            case _:
                self._refuse(node, key, f"the tag {tag} is not known here; remove it")
        return None

    def _refuse(self, node: Node, key: Key, text: str) -> None:
        self.problems.append(Problem(key, text, node.start_mark.line + 1))

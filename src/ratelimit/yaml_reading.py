"""Typed reading of a YAML file that remembers lines and gathers every finding before it gives
up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ratelimit.errors import Finding

# Aliases let a short file describe an endless one; real files nest four or five levels.
DEPTH_MAX = 64
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_INTEGER = re.compile(r"-?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)")


class YamlFile:
    """One file's text as nodes, and what was found to be wrong with it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.findings: list[Finding] = []
        self.root = self._composed(text)

    @property
    def broken(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def error(self, node: Node | int, message: str) -> None:
        """Refuse the file because of this node (or line)."""
        self._find(node, "error", message)

    def warning(self, node: Node | int, message: str) -> None:
        """Remark on a node that is accepted."""
        self._find(node, "warning", message)

    def fields(
        self, node: Node | None, known: Mapping[str, str], misplaced: frozenset[str]
    ) -> dict[str, Node]:
        """The fields of a mapping. One that is not ``known`` is an error, unless it is among
        ``misplaced``: then it is ignored with a warning, since envoyproxy ignores it too."""
        if not isinstance(node, MappingNode):
            if node is not None:
                self.error(node, "expected fields with values here")
            return {}
        found: dict[str, Node] = {}
        for key, value in self._pairs(node, 0):
            name = key.value if isinstance(key, ScalarNode) else None
            if not isinstance(name, str) or not _is_text_tag(key):
                self.error(key, f"a field's name must be text, not {key.value!r}")
            elif name in found:
                self.error(key, f"field '{name}' stands here twice")
            elif name in known:
                found[name] = value
            elif name in misplaced:
                self.warning(key, f"field '{name}' has no meaning here and is ignored")
            else:
                self.error(key, f"unknown field '{name}'; known here: {', '.join(known)}")
        return {name: value for name, value in found.items() if not _is_null(value)}

    def items(self, node: Node | None, what: str) -> Sequence[Node]:
        """The items of a list; nothing for a field that is not there."""
        if node is None:
            return ()
        if not isinstance(node, SequenceNode):
            self.error(node, f"expected a list of {what}")
            return ()
        return list(node.value)

    def text(self, node: Node | None) -> str:
        """The text of a scalar as it is written, so `8080` and `true` are texts too."""
        if node is None:
            return ""
        if not isinstance(node, ScalarNode):
            self.error(node, "expected a text")
            return ""
        return str(node.value)

    def integer(self, node: Node | None, least: int, most: int, default: int) -> int:
        """A whole number within bounds."""
        if node is None:
            return default
        text = self.text(node)
        if not _is_plain(node) or not _INTEGER.fullmatch(text):
            self.error(node, f"expected a whole number, not '{text[:40]}'")
            return default
        number = int(text, 0) if len(text) < 64 else most + 1
        if not least <= number <= most:
            self.error(node, f"expected a number from {least} to {most}, not {text[:40]}")
            return default
        return number

    def boolean(self, node: Node | None, *, default: bool = False) -> bool:
        """True or false."""
        if node is None:
            return default
        text = self.text(node)
        if not _is_plain(node) or text.lower() not in _TRUE | _FALSE:
            self.error(node, f"expected true or false, not '{text[:40]}'")
            return default
        return text.lower() in _TRUE

    def choice(self, node: Node | None, options: Sequence[str], default: str) -> str:
        """One of a few words, in any case of letters."""
        if node is None:
            return default
        word = self.text(node).lower()
        if word not in options:
            self.error(node, f"expected one of {', '.join(options)}, not '{word[:40]}'")
            return default
        return word

    def plain(self, node: Node, depth: int = 0) -> Any:
        """Anything that JSON can hold, as Python values."""
        if depth > DEPTH_MAX:
            self.error(node, f"nested deeper than {DEPTH_MAX} levels")
            return None
        if isinstance(node, MappingNode):
            pairs = self._pairs(node, depth)
            return {self.text(key): self.plain(value, depth + 1) for key, value in pairs}
        if isinstance(node, SequenceNode):
            return [self.plain(item, depth + 1) for item in node.value]
        return _scalar(node)

    def _pairs(self, node: MappingNode, depth: int) -> Iterator[tuple[Node, Node]]:
        """The pairs of a mapping, with what `<<` merges in behind its own."""
        if depth > DEPTH_MAX:
            self.error(node, f"merged deeper than {DEPTH_MAX} levels")
            return
        own = {key.value for key, _ in node.value if isinstance(key, ScalarNode)}
        for key, value in node.value:
            if not str(key.tag).endswith(":merge"):
                yield key, value
                continue
            for merged in value.value if isinstance(value, SequenceNode) else [value]:
                if not isinstance(merged, MappingNode):
                    self.error(merged, "only fields can be merged in")
                    continue
                for pair in self._pairs(merged, depth + 1):
                    if pair[0].value not in own:
                        own.add(pair[0].value)
                        yield pair

    def _composed(self, text: str) -> Node | None:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # the later one counts, as YAML has it
        try:
            node: Node | None = yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.error(mark.line + 1 if mark else 1, f"not YAML: {error.problem}")
            return None
        except (YAMLError, ValueError, RecursionError) as error:
            lines = str(error).splitlines()
            self.error(1, f"not YAML: {lines[0] if lines else type(error).__name__}")
            return None
        return node

    def _find(self, node: Node | int, severity: str, message: str) -> None:
        line = node if isinstance(node, int) else line_of(node)
        self.findings.append(Finding(self.name, line, severity, message))


def line_of(node: Node) -> int:
    """The line of a node, from 1."""
    return int(node.start_mark.line) + 1


def _is_plain(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style not in {"'", '"', "|", ">"}


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and str(node.tag).endswith(":null")


def _is_text_tag(node: Node) -> bool:
    return str(node.tag).endswith(":str")


def _scalar(node: Node) -> Any:
    kind = str(node.tag).rsplit(":", 1)[-1]
    text = str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text, 0)
    if kind == "float":
        return _finite(text)
    return text


def _finite(text: str) -> float | str:
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        return text
    return number if number - number == 0 else text

"""Plain values as YAML that reads the same everywhere: block style, the order kept, text quoted
wherever some reader of YAML might take it for something else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_PLAIN_TEXT = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_TAKEN_FOR_OTHERS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_INDENT = "  "


def to_yaml(value: object) -> str:
    """Write mappings, lists, text, whole numbers, booleans and ``None``; ends with a line end."""
    return "\n".join(_block(value, "")) + "\n"


def _block(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{indent}{_key(str(key))}:", inner, indent)
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _item(inner, indent)
    else:
        yield indent + _scalar(value)


def _entry(head: str, inner: object, indent: str) -> Iterator[str]:
    if isinstance(inner, dict | list) and inner:
        yield head
        yield from _block(inner, indent + (_INDENT if isinstance(inner, dict) else ""))
    else:
        yield f"{head} {_scalar(inner)}"


def _item(inner: object, indent: str) -> Iterator[str]:
    """A list's item: its first line begins with the dash, the rest stands below it."""
    first, *rest = _block(inner, indent + _INDENT)
    yield f"{indent}- {first[len(indent) + len(_INDENT) :]}"
    yield from rest


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) and _is_safe(key) else json.dumps(key)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        plain = _PLAIN_TEXT.fullmatch(value) is not None and _is_safe(value)
        return value if plain else json.dumps(value)
    assert value is None or isinstance(value, bool | int | dict | list), f"{value!r} is no YAML"
    return json.dumps(value)


def _is_safe(text: str) -> bool:
    return text.lower() not in _TAKEN_FOR_OTHERS

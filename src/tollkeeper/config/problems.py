"""What pydantic finds, as lines for people: where it stands and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from tollkeeper.config.document import Document, Key, Problem
from tollkeeper.config.schema import Config

_SENTENCES = {
    "missing": "is missing; add it",
    "string_type": "must be text; put it in quotes",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
}


def problems_of(document: Document, error: ValidationError) -> list[Problem]:
    """One problem for each finding; none repeats a value, which might be a secret."""
    findings = error.errors(include_url=False)
    return [_problem(document, finding) for finding in findings if not _echo(document, finding)]


def _problem(document: Document, finding: Any) -> Problem:
    kind = finding["type"]
    key = _key_in(document.value, finding["loc"], missing=kind == "missing")
    if kind == "extra_forbidden":
        return Problem(key, _unknown_key(str(key[-1])))
    if kind == "union_tag_not_found":
        return Problem((*key, "meter"), "is missing; add it")
    if kind == "union_tag_invalid":
        return Problem((*key, "meter"), f"must be one of {finding['ctx']['expected_tags']}")
    if kind in _SENTENCES:
        return Problem(key, _SENTENCES[kind])
    text = str(finding["msg"]).removeprefix("Value error, ")
    return Problem(key, text.replace("Input should be", "must be"))


def _echo(document: Document, finding: Any) -> bool:
    """Whether a list counts as empty only because something in it was refused already."""
    if finding["type"] != "too_short":
        return False
    value = document.value
    for part in _key_in(document.value, finding["loc"], missing=False):
        value = cast("dict[object, object]", value)[part]
    return bool(value)


def _key_in(value: object, loc: tuple[str | int, ...], *, missing: bool) -> Key:
    """Where a finding stands in the file: pydantic also names the members of unions on its way."""
    key: Key = ()
    for i, part in enumerate(loc):
        if isinstance(value, dict) and part in value:
            value = cast("dict[object, object]", value)[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif not missing or i < len(loc) - 1:
            continue
        key = (*key, part)
    return key


def _unknown_key(name: str) -> str:
    close = get_close_matches(name, sorted(_KNOWN_KEYS), n=1)
    return f"is not known here; did you mean {close[0]}?" if close else "is not known; remove it"


def _field_names(model: type[BaseModel]) -> Iterator[str]:
    """The names of all fields of a model and of the models inside it."""
    for name, field in model.model_fields.items():
        yield name
        for inner in _models_in(field.annotation):
            yield from _field_names(inner)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


_KNOWN_KEYS = frozenset(_field_names(Config))

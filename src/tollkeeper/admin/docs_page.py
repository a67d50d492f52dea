"""The page that documents the API: plain HTML out of the OpenAPI document, without any script.

Operators open it in the browser that also holds their tokens, so it loads nothing from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
code,pre{font-family:monospace;background:#f4f4f4}pre{padding:.7em;overflow:auto}
h3{margin-top:2em;border-top:1px solid #ddd;padding-top:1em}td{padding:0 1em 0 0}"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Every operation with its parameters, body and answers."""
    return "\n".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
    yield f"<style>{_STYLE}</style><h1>{title}</h1>"
    yield f"<p>{escape(document['info'].get('description', ''))}</p>"
    yield "<p>For programs: <a href='/openapi.json'>/openapi.json</a></p>"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation, document)
    yield "</html>"


def _operation(
    head: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h3><code>{escape(head)}</code></h3><p>{escape(operation.get('description', ''))}</p>"
    rows = [
        f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}"
        f"<td>{'needed' if p.get('required') else ''}<td>{escape(p.get('description', ''))}"
        for p in operation.get("parameters", [])
    ]
    yield f"<table>{''.join(rows)}</table>"
    sent = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if sent:
        yield f"<p>Body:</p><pre>{_schema(sent['schema'], document)}</pre>"
    for status, told in operation["responses"].items():
        yield f"<p>{escape(status)}: {escape(told.get('description', ''))}</p>"


def _schema(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """A body's schema, looked up where it is only named."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found = document["components"]["schemas"].get(name, schema)
    return escape(json.dumps(found.get("properties", found), indent=2))

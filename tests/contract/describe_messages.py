"""Flattens generated protobuf modules into plain facts; also a script that prints them as JSON.

Usage: ``python describe_messages.py MODULE...``. It runs in two environments, ours and that of the
official stubs, so it imports nothing but protobuf.
"""

import importlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

Facts = dict[str, dict[str, Any]]
"""By full name of a message, field, enum, enum value or method: all that the wire depends on."""


def describe(modules: Iterable[str]) -> Facts:
    """The facts of every module, by full name."""
    facts: Facts = {}
    for module in modules:
        proto = FileDescriptorProto()
        importlib.import_module(module).DESCRIPTOR.CopyToProto(proto)
        facts.update(_file(proto))
    return facts


def _file(proto: FileDescriptorProto) -> Iterator[tuple[str, dict[str, Any]]]:
    for message in proto.message_type:
        yield from _message(f"{proto.package}.{message.name}", message)
    for enum in proto.enum_type:
        yield from _enum(f"{proto.package}.{enum.name}", enum)
    for service in proto.service:
        yield from _service(f"{proto.package}.{service.name}", service)


def _message(name: str, message: DescriptorProto) -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, {"kind": "message", "map_entry": message.options.map_entry}
    for field in message.field:
        in_oneof = field.HasField("oneof_index")
        yield (
            f"{name}.{field.name}",
            {
                "kind": "field",
                "number": field.number,
                "type": field.type,
                "label": field.label,
                "type_name": field.type_name,
                "oneof": message.oneof_decl[field.oneof_index].name if in_oneof else None,
                "optional": field.proto3_optional,
                "deprecated": field.options.deprecated,
            },
        )
    for nested in message.nested_type:
        yield from _message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _enum(f"{name}.{enum.name}", enum)


def _enum(name: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, {"kind": "enum"}
    for value in enum.value:
        yield f"{name}.{value.name}", {"kind": "value", "number": value.number}


def _service(name: str, service: ServiceDescriptorProto) -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, {"kind": "service"}
    for method in service.method:
        yield (
            f"{name}.{method.name}",
            {
                "kind": "method",
                "input": method.input_type,
                "output": method.output_type,
                "client_streaming": method.client_streaming,
                "server_streaming": method.server_streaming,
            },
        )


if __name__ == "__main__":
    print(json.dumps(describe(sys.argv[1:])))

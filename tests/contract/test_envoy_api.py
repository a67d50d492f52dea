"""proto/envoyapi is Envoy's API: every name, number and type, against the official stubs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.describe_messages import Facts, describe

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL_PYTHON = ROOT / ".venv-xds/bin/python"
OFFICIAL_STAMP = ROOT / ".venv-xds/.installed"
OURS = sorted(f"envoyapi.{path.stem}_pb2" for path in (ROOT / "proto/envoyapi").glob("*.proto"))
OFFICIAL = (
    "envoy.config.core.v3.address_pb2",
    "envoy.config.core.v3.base_pb2",
    "envoy.data.accesslog.v3.accesslog_pb2",
    "envoy.extensions.common.ratelimit.v3.ratelimit_pb2",
    "envoy.service.accesslog.v3.als_pb2",
    "envoy.service.auth.v3.attribute_context_pb2",
    "envoy.service.auth.v3.external_auth_pb2",
    "envoy.service.ratelimit.v3.rls_pb2",
    "envoy.type.v3.http_status_pb2",
    "envoy.type.v3.ratelimit_unit_pb2",
    "envoy.type.v3.semantic_version_pb2",
)
LEFT_OUT = {
    "envoy.config.core.v3.Node.DynamicParametersEntry",
    "envoy.config.core.v3.Node.dynamic_parameters",
    "envoy.config.core.v3.Node.extensions",
    "envoy.config.core.v3.Node.listening_addresses",
}
"""Of the messages that we declare, the members that we leave out: an Envoy's self-description."""


@pytest.fixture(scope="module")
def ours() -> Facts:
    """What src/envoyapi says."""
    return describe(OURS)


@pytest.fixture(scope="module")
def official() -> Facts:
    """What the official stubs say, from an environment of their own."""
    lock = ROOT / "requirements/xds.lock"
    if not OFFICIAL_STAMP.exists() or OFFICIAL_STAMP.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["make", ".venv-xds/.installed"], cwd=ROOT, check=True)
    script = ROOT / "tests/contract/describe_messages.py"
    dump = subprocess.run(
        [str(OFFICIAL_PYTHON), "-I", str(script), *OFFICIAL], check=True, capture_output=True
    )
    facts: Facts = json.loads(dump.stdout)
    return facts


def mismatches(ours: Facts, official: Facts) -> list[str]:
    """Every fact of ours that the official stubs do not state in the same way."""
    return [
        f"{name}: ours {fact}, official {official.get(name)}"
        for name, fact in ours.items()
        if fact != official.get(name)
    ]


@pytest.mark.timeout(600)
def test_every_name_number_and_type_is_the_official_one(ours: Facts, official: Facts) -> None:
    """Messages, fields, enums, services and methods are exactly what Envoy's own stubs say."""
    assert mismatches(ours, official) == []
    assert len(ours) > 300


def test_nothing_else_is_left_out_of_what_we_declare(ours: Facts, official: Facts) -> None:
    """Each message and enum that we declare is whole, but for a list of known omissions."""
    missing = {name for name in official if name not in ours and name.rpartition(".")[0] in ours}
    assert missing == LEFT_OUT


@pytest.mark.parametrize(
    ("name", "key", "wrong"),
    [
        ("envoy.service.auth.v3.CheckResponse.dynamic_metadata", "number", 6),
        ("envoy.service.auth.v3.CheckResponse.denied_response", "oneof", None),
        ("envoy.data.accesslog.v3.AccessLogCommon.stream_id", "type", 12),
        ("envoy.data.accesslog.v3.AccessLogCommon.metadata", "type_name", ".google.protobuf.Any"),
        ("envoy.service.ratelimit.v3.RateLimitRequest.descriptors", "label", 1),
        ("envoy.service.ratelimit.v3.RateLimitResponse.Code.OVER_LIMIT", "number", 3),
        ("envoy.service.accesslog.v3.AccessLogService.StreamAccessLogs", "client_streaming", False),
    ],
)
def test_a_wrong_fact_is_found(
    ours: Facts, official: Facts, name: str, key: str, wrong: object
) -> None:
    """Each kind of fact, changed in one place, is reported as the one mismatch."""
    assert ours[name][key] != wrong
    corrupted = {**ours, name: {**ours[name], key: wrong}}
    found = mismatches(corrupted, official)
    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")


def test_an_invented_field_is_found(ours: Facts, official: Facts) -> None:
    """A field that Envoy does not have is a mismatch too."""
    invented = "envoy.service.auth.v3.CheckRequest.invented"
    assert mismatches({**ours, invented: {"kind": "field"}}, official) != []


def test_the_generated_modules_are_what_proto_says(tmp_path: Path) -> None:
    """Compiling proto/ again gives the committed files, byte for byte, and no other."""
    compiler = ROOT / "proto/compile.py"
    subprocess.run([sys.executable, str(compiler), str(tmp_path)], check=True)
    generated = {path.name: path.read_bytes() for path in (tmp_path / "envoyapi").iterdir()}
    committed = {
        path.name: path.read_bytes()
        for path in (ROOT / "src/envoyapi").glob("*_pb2*.py*")
        if path.suffix in (".py", ".pyi")
    }
    assert generated == committed

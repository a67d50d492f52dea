"""Envoy's response flags: one table for the stream's message and for the letters of the log file.

A set of flags is an ``int`` with one bit per flag. The bit is the field's number in
``envoy.data.accesslog.v3.ResponseFlags``, so what is spooled keeps its meaning over versions. Short
forms are those of Envoy's documentation (access log operators, RESPONSE_FLAGS).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Flag(NamedTuple):
    """One response flag: its field's number and name on the wire, its letters in a log file."""

    number: int
    field: str
    letters: str


FLAGS = (
    Flag(1, "failed_local_healthcheck", "LH"),
    Flag(2, "no_healthy_upstream", "UH"),
    Flag(3, "upstream_request_timeout", "UT"),
    Flag(4, "local_reset", "LR"),
    Flag(5, "upstream_remote_reset", "UR"),
    Flag(6, "upstream_connection_failure", "UF"),
    Flag(7, "upstream_connection_termination", "UC"),
    Flag(8, "upstream_overflow", "UO"),
    Flag(9, "no_route_found", "NR"),
    Flag(10, "delay_injected", "DI"),
    Flag(11, "fault_injected", "FI"),
    Flag(12, "rate_limited", "RL"),
    Flag(13, "unauthorized_details", "UAEX"),
    Flag(14, "rate_limit_service_error", "RLSE"),
    Flag(15, "downstream_connection_termination", "DC"),
    Flag(16, "upstream_retry_limit_exceeded", "URX"),
    Flag(17, "stream_idle_timeout", "SI"),
    Flag(18, "invalid_envoy_request_headers", "IH"),
    Flag(19, "downstream_protocol_error", "DPE"),
    Flag(20, "upstream_max_stream_duration_reached", "UMSDR"),
    Flag(21, "response_from_cache_filter", "RFCF"),
    Flag(22, "no_filter_config_found", "NFCF"),
    Flag(23, "duration_timeout", "DT"),
    Flag(24, "upstream_protocol_error", "UPE"),
    Flag(25, "no_cluster_found", "NC"),
    Flag(26, "overload_manager", "OM"),
    Flag(27, "dns_resolution_failure", "DF"),
    Flag(28, "downstream_remote_reset", "DR"),
)

BIT_BY_FIELD: Mapping[str, int] = MappingProxyType({f.field: 1 << f.number for f in FLAGS})
BIT_BY_LETTERS: Mapping[str, int] = MappingProxyType({f.letters: 1 << f.number for f in FLAGS})


def flags_of(*letters: str) -> int:
    """The set of these flags; an unknown one is a programming error."""
    bits = 0
    for flag in letters:
        bits |= BIT_BY_LETTERS[flag]
    return bits


def read_flags(text: str) -> int:
    """Read a log file's ``UH,URX``; ``-`` is none. Flags that the stream cannot carry are left out,
    so that both sources say the same."""
    bits = 0
    for flag in text.split(","):
        bits |= BIT_BY_LETTERS.get(flag, 0)
    return bits


def write_flags(bits: int) -> str:
    """The letters of a set, in the table's order; empty for none."""
    return ",".join(flag.letters for flag in FLAGS if bits >> flag.number & 1)

"""Rate limits: requests before they pass, tokens once their number is known.

The limit itself comes with the check's answer (``limit`` in its metadata), as an override that only
a route's own ``rate_limits`` can carry; ``apply_on_stream_done`` works only in a filter's own
configuration of a route. So a route that limits both has two filters, each with one of the two.
"""

from __future__ import annotations

from tollkeeper.config.schema import Config, GatewayModel, RouteModel, TokenLimitModel
from tollkeeper.envoy_render.vocabulary import (
    COUNTED_LIMIT,
    RATELIMIT,
    RATELIMIT_CLUSTER,
    TICKET_NAMESPACE,
    USAGE_NAMESPACE,
    Rendered,
    extension,
    grpc_service,
    metadata_key,
    seconds,
    typed,
)

_FILTER = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
QUOTED_UNITS = "quoted_units"
"""Where authorization tells what a token limit takes in advance; text, because an entry of a
descriptor takes no numbers."""

FIRST_FAILURE = 400
"""Answers from this status on used no tokens, so their quote is given back."""

_TOOK_NOTHING = ("request_rate_limited", "rate_limiter_error")
"""Envoy's own answers that say that no quote was taken, so that none may be given back."""

_QUOTED = f"%DYNAMIC_METADATA({TICKET_NAMESPACE}:{QUOTED_UNITS})%"
_COUNTED = {
    "total_tokens": "total_tokens",
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
}


def limit_filters(config: Config) -> list[Rendered]:
    """The limit on requests; the one on tokens only where a route has it."""
    gateway = config.gateway
    filters = [extension(RATELIMIT, _FILTER, _settings(gateway, config.ratelimit.domain))]
    domains = [r.token_limit.domain for r in config.routes.values() if r.token_limit is not None]
    if domains:
        tokens = extension(COUNTED_LIMIT, _FILTER, _settings(gateway, domains[0]))
        filters.append({**tokens, "disabled": True})
    return filters


def limits_of(route: RouteModel) -> Rendered:
    """The request limit of one route, as a field of its ``route``."""
    if route.ratelimit != "service":
        return {}
    actions = [_from_ticket("account"), _from_ticket("profile"), _from_ticket("burst")]
    override = {"metadata_key": metadata_key(TICKET_NAMESPACE, ["limit"])}
    return {"rate_limits": [{"actions": actions, "limit": {"dynamic_metadata": override}}]}


def token_limit_of(route: RouteModel) -> Rendered:
    """The token limit of one route, as its ``typed_per_filter_config``.

    Before the request it takes what authorization quoted, so that requests under way cannot pass
    the limit together; when the answer is complete it tells what was used, and ``quoted`` says what
    was taken before: the difference is charged or given back, never refused
    (ratelimit.d/tokens.yaml).
    """
    if route.token_limit is None:
        return {}
    account = _from_ticket("account")
    quoted = _from_ticket("quoted", field=QUOTED_UNITS)
    limits = [
        {"actions": [account], "hits_addend": {"format": _QUOTED}},
        {
            "actions": [account, quoted],
            "apply_on_stream_done": True,
            "hits_addend": {"format": _count(route.token_limit)},
        },
    ]
    fields = {"domain": route.token_limit.domain, "rate_limits": limits}
    return {COUNTED_LIMIT: typed(f"{_FILTER}PerRoute", fields)}


def _count(limit: TokenLimitModel) -> str:
    """What was used, none where the answer failed; no call is made when an answer says nothing.

    Whole, because Envoy writes other numbers with six digits.
    """
    used = f"metadata.filter_metadata['{USAGE_NAMESPACE}']['{_COUNTED[limit.count]}']"
    failed = " && ".join(
        (
            f"response.code >= {FIRST_FAILURE}",
            *(f"response.code_details != '{details}'" for details in _TOOK_NOTHING),
        )
    )
    return f"%CEL({failed} ? 0 : int({used}))%"


def _settings(gateway: GatewayModel, domain: str) -> Rendered:
    return {
        "domain": domain,
        "timeout": seconds(gateway.ratelimit_timeout_ms),
        "failure_mode_deny": gateway.ratelimit_failure_mode_deny,
        "status_on_error": {"code": "ServiceUnavailable"},
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "disable_x_envoy_ratelimited_header": True,
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": grpc_service(RATELIMIT_CLUSTER, gateway.ratelimit_timeout_ms),
        },
    }


def _from_ticket(name: str, *, field: str = "") -> Rendered:
    """A descriptor's entry; without the value there is no descriptor, and so no limit."""
    key = metadata_key(TICKET_NAMESPACE, [field or name])
    return {"metadata": {"descriptor_key": name, "metadata_key": key}}

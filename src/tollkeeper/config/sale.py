"""The catalog: what ``tollkeeper.yaml`` sells, as plain values for the doors to look up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from billing.catalog import Catalog, Credential, PriceBook, PriceVersion, Route, TokenQuote
from billing.plans import Limits, Plan
from tollkeeper.config.schema import Config, LimitsModel, PlanModel, RouteModel
from tollkeeper.config.tariffs import PriceVersionModel


def compile_catalog(config: Config, credentials: Mapping[str, Credential]) -> Catalog:
    """Make the catalog of a checked configuration; ``credentials`` are by name of upstream.

    Pure: the same file and the same credentials give an equal catalog.
    """
    return Catalog(
        routes={
            name: _route(name, route, credentials.get(route.upstream))
            for name, route in config.routes.items()
        },
        plans={name: _plan(name, plan) for name, plan in config.plans.items()},
        prices=PriceBook([_version(version) for version in config.prices]),
        action_url=config.action_url,
    )


def price_digest(version: PriceVersionModel) -> str:
    """SHA-256 of a price version's canonical text: sorted JSON of all that differs from a default.

    So neither the order of the file, nor how a number is written, nor a new field of ours that the
    file does not use makes another digest.
    """
    content = version.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _route(name: str, route: RouteModel, credential: Credential | None) -> Route:
    return Route(
        name=name,
        upstream=route.upstream,
        profile=route.profile,
        meter=route.meter or "flat",  # a route without a charge is never metered
        tariff=route.tariff or "",
        shape=route.shape,
        needs_body=route.shape == "jsonrpc",
        hold=route.hold,
        lifetime_s=route.lifetime_s,
        max_body_bytes=route.max_body_bytes,
        max_calls=route.max_calls,
        missing_usage=route.missing_usage,
        on_expiry=route.on_expiry,
        redis_posture=route.failure.redis,
        postgres_posture=route.failure.postgres,
        spool_posture=route.failure.spool_posture,
        inline_ratelimit=route.ratelimit == "inline",
        charged=route.charged,
        credential=credential,
        token_quote=_token_quote(route),
        stream_usage=route.stream_usage,
    )


def _token_quote(route: RouteModel) -> TokenQuote | None:
    """Only the meter of tokens has quotes in tokens; others are counted when they are known."""
    if route.token_limit is None:
        return None
    return route.token_limit.quote if route.meter == "tokens" else "none"


def _plan(name: str, plan: PlanModel) -> Plan:
    return Plan(
        name=name,
        period=plan.period,
        limits=_limits(plan.limits),
        by_profile={profile: _limits(limits) for profile, limits in plan.profiles.items()},
    )


def _limits(limits: LimitsModel) -> Limits:
    return Limits(
        requests_per_second=limits.requests_per_second,
        burst=limits.burst,
        max_in_flight=limits.max_in_flight,
        units_per_period=limits.units_per_period,
        spend_per_period_nanos=limits.spend_per_period_usd,
        spend_per_day_nanos=limits.spend_per_day_usd,
        max_request_nanos=limits.max_request_usd,
    )


def _version(version: PriceVersionModel) -> PriceVersion:
    return PriceVersion(
        version=version.version,
        effective_from_s=version.effective_from,
        tariffs={name: tariff.compiled() for name, tariff in version.tariffs.items()},
        digest=price_digest(version),
    )

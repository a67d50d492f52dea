"""The price book's part of ``tollkeeper.yaml``: one model for each meter's tariff.

Amounts are in USD as decimal text and become whole nano-USD. Where a tariff has no price of its
own, the price is the provider's times the markup. Defaults are those of :mod:`billing.meters`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from billing.catalog import Meter
from billing.meters.amounts import MAX_MARKUP_PPM, MAX_UNITS, PPM
from billing.meters.compute_units import MAX_MULTIPLIER, ComputeUnitTariff
from billing.meters.duration import MAX_SETTING, DurationRates, DurationTariff
from billing.meters.flat import FlatTariff
from billing.meters.reported import ReportedTariff
from billing.meters.tokens import MAX_TOKENS_SETTING, ModelPrice, TokenRates, TokenTariff
from billing.meters.values import Tariff
from billing.money import NANOS_PER_USD
from tollkeeper.config.scalars import Instant, Model, Name, Ppm, Thousandths, Usd

M = TypeVar("M", bound=Model)

Markup = Annotated[Ppm, Field(ge=1, le=MAX_MARKUP_PPM)]
Multiplier = Annotated[Thousandths, Field(ge=0, le=MAX_MULTIPLIER)]
TokenCount = Annotated[int, Field(ge=1, le=MAX_TOKENS_SETTING)]
Bound = Annotated[int, Field(ge=1, le=MAX_SETTING)]
Expected = Annotated[int, Field(ge=0, le=MAX_SETTING)]
MethodName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^*\s]+$")]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class TokenRatesModel(Model):
    """One side's prices of a model; cached input costs as much as other input when left out."""

    input_usd_per_million_tokens: Usd
    cached_input_usd_per_million_tokens: Usd | None = None
    output_usd_per_million_tokens: Usd

    def rates(self) -> TokenRates:
        return TokenRates(
            input_nanos_per_mtok=self.input_usd_per_million_tokens,
            cached_input_nanos_per_mtok=self.cached_input_usd_per_million_tokens,
            output_nanos_per_mtok=self.output_usd_per_million_tokens,
        )


class ModelPriceModel(Model):
    """One model: what it costs, and how much of it a request can ask for."""

    max_output_tokens: TokenCount
    max_input_tokens: TokenCount | None = None
    typical_output_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS_SETTING)] = 500
    price: TokenRatesModel | None = None
    provider: TokenRatesModel | None = None

    @model_validator(mode="after")
    def _has_prices(self) -> Self:
        return _priced(self, self.price, self.provider)

    def compiled(self) -> ModelPrice:
        return ModelPrice(
            max_output_tokens=self.max_output_tokens,
            max_input_tokens=self.max_input_tokens,
            typical_output_tokens=self.typical_output_tokens,
            own=self.price.rates() if self.price is not None else None,
            provider=self.provider.rates() if self.provider is not None else None,
        )


class TokensModel(Model):
    """Prices by model name, exactly as clients write it."""

    meter: Literal["tokens"]
    models: Annotated[dict[ModelName, ModelPriceModel], Field(min_length=1)]
    markup: Markup = PPM
    stream_bytes_per_token: Annotated[int, Field(ge=1, le=1 << 20)] = 200

    def compiled(self) -> Tariff:
        return TokenTariff(
            models={name: model.compiled() for name, model in self.models.items()},
            markup_ppm=self.markup,
            stream_bytes_per_token=self.stream_bytes_per_token,
        )


class ComputeUnitsModel(Model):
    """Multipliers by JSON-RPC method; others are refused unless ``default_multiplier`` is set."""

    meter: Literal["compute_units"]
    multipliers: Annotated[dict[MethodName, Multiplier], Field(min_length=1)]
    default_multiplier: Multiplier | None = None
    usd_per_cu: Usd | None = None
    provider_usd_per_cu: Usd | None = None
    markup: Markup = PPM
    typical_response_kib: Annotated[int, Field(ge=0, le=1 << 30)] = 1
    max_response_kib: Annotated[int, Field(ge=1, le=1 << 30)] = 64

    @model_validator(mode="after")
    def _has_prices(self) -> Self:
        if self.typical_response_kib > self.max_response_kib:
            raise ValueError("typical_response_kib must not be above max_response_kib")
        return _priced(self, self.usd_per_cu, self.provider_usd_per_cu)

    def compiled(self) -> Tariff:
        return ComputeUnitTariff(
            methods=dict(self.multipliers),
            default_multiplier_thousandths=self.default_multiplier,
            nanos_per_cu=self.usd_per_cu,
            provider_nanos_per_cu=self.provider_usd_per_cu,
            markup_ppm=self.markup,
            typical_response_kib=self.typical_response_kib,
            max_response_kib=self.max_response_kib,
        )


class DurationRatesModel(Model):
    """One side's prices of a run: its start, a CPU second, a GB held for a second."""

    base_usd: Usd
    usd_per_cpu_second: Usd
    usd_per_gb_second: Usd

    def rates(self) -> DurationRates:
        return DurationRates(
            base_nanos=self.base_usd,
            nanos_per_cpu_s=self.usd_per_cpu_second,
            nanos_per_gb_s=self.usd_per_gb_second,
        )


class DurationModel(Model):
    """Prices of tool runs, and the bounds that the tool backend keeps."""

    meter: Literal["duration"]
    price: DurationRatesModel | None = None
    provider: DurationRatesModel | None = None
    markup: Markup = PPM
    max_cpu_s: Bound = 60
    max_memory_mib: Bound = 2048
    max_duration_s: Bound = 120
    typical_cpu_s: Expected = 1
    typical_memory_mib: Expected = 256
    typical_duration_s: Expected = 2

    @model_validator(mode="after")
    def _has_prices(self) -> Self:
        return _priced(self, self.price, self.provider)

    def compiled(self) -> Tariff:
        return DurationTariff(
            own=self.price.rates() if self.price is not None else None,
            provider=self.provider.rates() if self.provider is not None else None,
            markup_ppm=self.markup,
            max_cpu_s=self.max_cpu_s,
            max_memory_mib=self.max_memory_mib,
            max_duration_s=self.max_duration_s,
            typical_cpu_s=self.typical_cpu_s,
            typical_memory_mib=self.typical_memory_mib,
            typical_duration_s=self.typical_duration_s,
        )


class FlatModel(Model):
    """One price per request."""

    meter: Literal["flat"]
    usd_per_request: Usd | None = None
    provider_usd_per_request: Usd | None = None
    markup: Markup = PPM

    @model_validator(mode="after")
    def _has_prices(self) -> Self:
        return _priced(self, self.usd_per_request, self.provider_usd_per_request)

    def compiled(self) -> Tariff:
        return FlatTariff(
            nanos_per_request=self.usd_per_request,
            provider_nanos_per_request=self.provider_usd_per_request,
            markup_ppm=self.markup,
        )


class ReportedModel(Model):
    """The markup on what the upstream reports, and the prices to quote before it does."""

    meter: Literal["reported"]
    markup: Markup
    min_usd: Usd = 0
    typical_usd: Usd
    max_usd: Usd
    min_units: Annotated[int, Field(ge=0, le=MAX_UNITS)] = 1
    typical_units: Annotated[int, Field(ge=0, le=MAX_UNITS)] = 1
    max_units: Annotated[int, Field(ge=1, le=MAX_UNITS)] = 1
    max_reported_usd: Usd = 1_000 * NANOS_PER_USD

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if not self.min_usd <= self.typical_usd <= self.max_usd:
            raise ValueError("min_usd, typical_usd and max_usd must not descend")
        if not self.min_units <= self.typical_units <= self.max_units:
            raise ValueError("min_units, typical_units and max_units must not descend")
        return self

    def compiled(self) -> Tariff:
        return ReportedTariff(
            typical_nanos=self.typical_usd,
            max_nanos=self.max_usd,
            min_nanos=self.min_usd,
            markup_ppm=self.markup,
            min_units=self.min_units,
            typical_units=self.typical_units,
            max_units=self.max_units,
            max_reported_nanos=self.max_reported_usd,
        )


TariffModel = Annotated[
    TokensModel | ComputeUnitsModel | DurationModel | FlatModel | ReportedModel,
    Field(discriminator="meter"),
]


class PriceVersionModel(Model):
    """One version of the price book, in force from a time on until the next one's."""

    version: Name
    effective_from: Instant
    tariffs: Annotated[dict[Name, TariffModel], Field(min_length=1)]

    def meter_of(self, tariff: str) -> Meter | None:
        found = self.tariffs.get(tariff)
        return found.meter if found is not None else None


def _priced(model: M, own: object, provider: object) -> M:
    if own is None and provider is None:
        raise ValueError("has no price; write its own, or the provider's")
    return model

"""Types of single values in ``tollkeeper.yaml``: names, amounts, factors, times, addresses.

Amounts and factors arrive as whole numbers or as text (see :mod:`tollkeeper.config.document`) and
leave as integers: nano-USD, millionths, thousandths. Each reader raises ``ValueError`` with what to
write instead.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from billing.accounts import MAX_WORD_CHARS, WORD
from billing.money import MAX_NANOS, parse_usd
from tollkeeper.addresses import Address, parse_address

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_FACTOR = re.compile(r"(\d{1,7})(?:\.(\d{1,6}))?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,1023}")

PPM_DECIMALS = 6
THOUSANDTHS_DECIMALS = 3


class Model(BaseModel):
    """One section of the file: unknown keys are refused, nothing is converted silently."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True
    )


def _text_of(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports a ValueError
    return str(value)


def read_usd(value: object) -> int:
    """An amount of USD that is not negative, as nano-USD."""
    return _not_negative(parse_usd(_text_of(value)))


def _not_negative(amount_nanos: int) -> int:
    if amount_nanos < 0:
        raise ValueError("must not be negative")
    assert amount_nanos <= MAX_NANOS
    return amount_nanos


def read_factor(value: object, decimals: int) -> int:
    """A factor such as ``1.5``, as an integer of so many decimals."""
    found = _FACTOR.fullmatch(_text_of(value))
    fraction = (found[2] or "").rstrip("0") if found else ""
    if found is None or len(fraction) > decimals:
        raise ValueError(f"must be a number such as 2 or 1.5, with at most {decimals} decimals")
    return int(found[1] + fraction.ljust(decimals, "0"))


def read_instant(value: object) -> int:
    """A time with its zone, such as ``2026-01-01T00:00:00Z``, as seconds of Unix time."""
    try:
        instant = datetime.fromisoformat(_text_of(value))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2026-01-01T00:00:00Z")
    if instant.microsecond:
        raise ValueError("must be a whole second")
    return int(instant.astimezone(UTC).timestamp())


def _read_address(value: object) -> object:
    return parse_address(value) if isinstance(value, str) else value


def check_url(url: str) -> str:
    """An address that Envoy can call: ``http://`` or ``https://``, host, port; no path, no user."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("must be http://host:port or https://host:port")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must end after the port; a route's rewrite says another path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; name a credential")
    return url.rstrip("/")


def _check(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"must be {what}")
        return text

    return AfterValidator(check)


Name = Annotated[
    str,
    _check(
        WORD,
        f"up to {MAX_WORD_CHARS} letters, digits, '.', '_' and '-', the first a letter or digit",
    ),
]
HeaderName = Annotated[str, _check(_HEADER, "the name of a header"), AfterValidator(str.lower)]
UrlPath = Annotated[str, _check(_PATH, "a path that begins with / and holds no query")]
Url = Annotated[str, AfterValidator(check_url)]
Listen = Annotated[Address, BeforeValidator(_read_address), PlainSerializer(str)]
Usd = Annotated[int, BeforeValidator(read_usd)]
Ppm = Annotated[int, BeforeValidator(lambda value: read_factor(value, PPM_DECIMALS))]
Thousandths = Annotated[
    int, BeforeValidator(lambda value: read_factor(value, THOUSANDTHS_DECIMALS))
]
Instant = Annotated[int, BeforeValidator(read_instant)]

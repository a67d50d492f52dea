"""The ``rate_limit`` of a descriptor in a file -> :class:`ratelimit.limits.Limit`."""

from __future__ import annotations

from collections.abc import Mapping

from ruamel.yaml.nodes import Node as YamlNode

from ratelimit.algorithms import Algorithm
from ratelimit.limits import REQUESTS_PER_UNIT_MAX, Limit
from ratelimit.units import CALENDAR_UNITS, Unit
from ratelimit.yaml_reading import YamlFile

LIMIT_FIELDS = {
    "unit": ", ".join(unit.value for unit in Unit),
    "requests_per_unit": "how many",
    "unlimited": "no limit, but metrics",
    "name": "for `replaces`, and shown in the answer",
    "replaces": "names of limits that this one stands in for",
    "algorithm": "fixed_window, sliding_window or token_bucket",
    "burst": "what a token bucket holds",
    "calendar": "weeks from Monday, months from the first, years from January",
    "billing_day": "the day on which a month begins",
    "count_refused": "whether a refused request is counted",
}
# envoyproxy accepts its own fields anywhere and reads only the ones that belong there.
MISPLACED = frozenset(
    {"domain", "key", "value", "descriptors", "rate_limit", "unit", "requests_per_unit"}
    | {"unlimited", "shadow_mode", "quota_mode", "name", "replaces", "detailed_metric"}
    | {"value_to_metric", "share_threshold", "metadata"}
)
_ALGORITHMS = {algorithm.name.lower(): algorithm for algorithm in Algorithm}
_UNITS = {unit.value: unit for unit in Unit}


def read_limit(file: YamlFile, here: YamlNode, said: Mapping[str, YamlNode]) -> Limit | None:
    """The limit that the fields say; None for an unlimited one. What is wrong goes to ``file``."""
    word = file.text(said.get("unit")).lower()
    unit = _UNITS.get(word)
    if file.boolean(said.get("unlimited")):
        if unit:
            file.error(said["unit"], "an unlimited rate_limit cannot have a unit")
        return None
    if unit is None:
        known = ", ".join(_UNITS)
        file.error(said.get("unit", here), f"unit must be one of {known}, not '{word[:40]}'")
        return None
    if "requests_per_unit" not in said:
        file.warning(here, "no requests_per_unit: everything is refused")
    hits = file.integer(said.get("requests_per_unit"), 0, REQUESTS_PER_UNIT_MAX, 0)
    return _counted(file, said, hits, unit)


def _counted(file: YamlFile, said: Mapping[str, YamlNode], hits: int, unit: Unit) -> Limit:
    """The limit with the ways of counting that envoyproxy does not have."""
    word = file.choice(said.get("algorithm"), tuple(_ALGORITHMS), "fixed_window")
    algorithm = _ALGORITHMS[word]
    bucket = algorithm is Algorithm.TOKEN_BUCKET
    if "burst" in said and not bucket:
        file.error(said["burst"], "only a token_bucket has a burst")
    if "billing_day" in said and unit is not Unit.MONTH:
        file.error(said["billing_day"], "only a month has a billing_day")
    calendar = file.boolean(said.get("calendar"), default="billing_day" in said)
    if calendar and (bucket or unit not in CALENDAR_UNITS):
        at = said.get("calendar") or said["billing_day"]
        file.error(at, "calendar needs a window of a week, a month or a year")
        calendar = False
    return Limit(
        hits,
        unit,
        algorithm,
        file.integer(said.get("burst"), 1, REQUESTS_PER_UNIT_MAX, 0),
        calendar,
        file.integer(said.get("billing_day"), 1, 31, 1) if calendar else 1,
        file.boolean(said.get("count_refused"), default=algorithm is Algorithm.FIXED_WINDOW),
    )

"""What the benchmark sells: the example's ``tollkeeper.yaml``, with a plan that bounds everything
and refuses nobody, and every route a second time with its rate limit inline."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

EXAMPLE = Path(__file__).parents[1] / "tollkeeper.yaml"
PLAN = "bench"
ROUTES = ("ping", "chat", "ethereum", "tool", "reported")
INLINE_PREFIX = "/inline"
LIMITS = {
    "requests_per_second": 1_000_000,
    "burst": 1_000_000,
    "max_in_flight": 1_000_000,
    "units_per_period": 10**15,
    "spend_per_period_usd": 4_000_000,
    "spend_per_day_usd": 3_000_000,
    "max_request_usd": 1_000,
}


def write_offer(path: Path) -> None:
    """Write the configuration file of the benchmark."""
    yaml = YAML()  # keeps the text of numbers: no price may become a float
    offer: dict[str, Any] = yaml.load(EXAMPLE)
    offer["plans"][PLAN] = {"period": "month", "limits": LIMITS}
    offer["ratelimit"]["directory"] = str(EXAMPLE.parent / offer["ratelimit"]["directory"])
    for name in ROUTES:
        route = offer["routes"][name]
        # Its limit would refuse; a call more for each answer is another question.
        route.pop("token_limit", None)
        inline = copy.deepcopy(route)
        plain_path = inline["match"]["path"]
        inline["match"]["path"] = INLINE_PREFIX + plain_path
        inline |= {"rewrite": plain_path, "ratelimit": "inline"}
        offer["routes"][f"{name}-inline"] = inline
    with path.open("w") as file:
        yaml.dump(offer, file)


def path_of(route: str) -> str:
    """The path of a route of the offer."""
    yaml = YAML(typ="safe", pure=True)
    plain = route.removesuffix("-inline")
    match = yaml.load(EXAMPLE)["routes"][plain]["match"]
    return str(match["path"]) if plain == route else INLINE_PREFIX + str(match["path"])


_CHAT = b'{"model":"gpt-4o-mini","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}'
BODIES = {
    "chat": _CHAT,
    "reported": _CHAT,
    "ethereum": b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}',
    "tool": b'{"cpu_ms":120,"memory_mib":256}',
}
"""What clients send; none for a route that is only asked."""

"""The declared answer while the counters are away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ratelimit.algorithms import Group, Reading
from ratelimit.errors import StoreUnavailable
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.memory import MemoryStore
from tests.unit.ratelimit.building import built, one

RULES = """
domain: d
on_failure: {on_failure}
descriptors:
  - {{key: four, rate_limit: {{unit: minute, requests_per_unit: 4}}}}
  - {{key: shade, shadow_mode: true, rate_limit: {{unit: minute, requests_per_unit: 4}}}}
  - key: bucket
    rate_limit: {{unit: minute, requests_per_unit: 4, algorithm: token_bucket}}
    descriptors:
      - {{key: quoted, parameter: quoted_hits}}
"""


class Away(MemoryStore):
    """A store that can be taken away."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.away = True

    async def draw(self, group: Group) -> Sequence[Reading]:
        """Answer unless away."""
        if self.away:
            raise StoreUnavailable("deadline")
        return await super().draw(group)


async def test_allow_and_deny() -> None:
    """Everything or nothing passes; a rule in shadow mode refuses nobody even then."""
    service = built(RULES.format(on_failure="allow"), store=Away())
    assert await service.codes("d", one("four=1"), times=9) == "." * 9
    service = built(RULES.format(on_failure="deny"), store=Away())
    assert await service.codes("d", one("four=1"), times=3) == "xxx"
    assert await service.codes("d", one("shade=1"), times=3) == "..."
    (status,) = (await service.ask("d", one("four=1"))).statuses
    assert (status.remaining, status.reset_s) == (0, 1)


async def test_local_counting_gives_out_a_share() -> None:
    """Half of the limit by default, by every algorithm; the whole of another share."""
    service = built(RULES.format(on_failure="local"), store=Away())
    assert await service.codes("d", one("four=1"), times=3) == "..x"
    assert await service.codes("d", one("bucket=1"), times=3) == "..x"
    whole = RateLimitSettings(local_share=1.0)
    service = built(RULES.format(on_failure="local"), store=Away(), settings=whole)
    assert await service.codes("d", one("four=1"), times=5) == "....x"


async def test_local_counts_are_not_remembered_as_the_stores() -> None:
    """When the store is back its own count holds at once."""
    store = Away()
    service = built(RULES.format(on_failure="local"), store=store)
    assert await service.codes("d", one("four=1"), times=4) == "..xx"
    store.away = False
    assert await service.codes("d", one("four=1"), times=5) == "....x"


async def test_local_corrections() -> None:
    """A quote that was taken locally is put right locally."""
    service = built(RULES.format(on_failure="local"), store=Away())
    assert await service.codes("d", one("bucket=1", hits=2)) == "."
    assert await service.codes("d", one("bucket=1", "quoted=2", hits=1)) == "."
    assert await service.codes("d", one("bucket=1"), times=2) == ".x"


async def test_an_error_can_be_the_answer() -> None:
    """Then Envoy's own failure mode decides, as with envoyproxy/ratelimit."""
    service = built(RULES.format(on_failure="error"), store=Away())
    with pytest.raises(StoreUnavailable):
        await service.ask("d", one("four=1"))


async def test_the_setting_holds_where_the_file_says_nothing() -> None:
    """A domain's own word wins over it."""
    text = "domain: d\ndescriptors:\n  - {key: k, rate_limit: {unit: day, requests_per_unit: 1}}\n"
    denying = RateLimitSettings(on_failure="deny")
    assert await built(text, store=Away(), settings=denying).codes("d", one("k=1")) == "x"
    allowing = text.replace("domain: d\n", "domain: d\non_failure: allow\n")
    assert await built(allowing, store=Away(), settings=denying).codes("d", one("k=1")) == "."


async def test_every_such_answer_is_counted() -> None:
    """By domain, reason and answer."""
    service = built(RULES.format(on_failure="deny"), store=Away())
    await service.codes("d", one("four=1"), times=3)
    assert service.metrics.without_store["d", "deadline", "deny"] == 3


async def test_corrections_from_within_say_when_they_are_lost() -> None:
    """Settlement hears that its correction was not taken."""
    service = built(RULES.format(on_failure="local"), store=Away())
    with pytest.raises(StoreUnavailable):
        await service.limiter.correct("d", [one("four=1")], -1)

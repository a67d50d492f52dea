"""Names of counters: unambiguous whatever the values hold, of fixed size, fit for Redis Cluster.

A name is ``prefix:{tag}:digest``. The digest (BLAKE2b, 128 bits) is taken over the domain, the way
of counting and every entry, each text preceded by its length, so no two different descriptors give
the same input: values with colons, newlines, NULs or braces, and values of a megabyte, are all the
same to it. The tag decides the slot in a Redis Cluster. It is a checksum of the domain and of the
descriptor's first entry (or of the domain alone), so all counters of one account lie together;
that two accounts may share a tag does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32


class Part(NamedTuple):
    """One entry as it goes into a name. A ``shared`` value is a pattern that many values share,
    not a value that happens to read the same."""

    key: str
    value: str
    shared: bool = False


def counter_name(
    prefix: str, domain: str, kind: str, parts: Iterable[Part], *, tag_by_entry: bool = True
) -> str:
    """The name of the counter of these entries in this domain, counted in this way."""
    texts = [_measured(domain), _measured(kind)]
    texts += [
        f"{'p' if part.shared else 'v'}{_measured(part.key)}{_measured(part.value)}"
        for part in parts
    ]
    digest = blake2b("".join(texts).encode(), digest_size=16).hexdigest()
    tagged = texts[0] + (texts[2] if tag_by_entry and len(texts) > 2 else "")
    return f"{prefix}:{{{crc32(tagged.encode()):08x}}}:{digest}"


def _measured(text: str) -> str:
    return f"{len(text)}:{text}"

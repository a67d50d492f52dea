"""Faults, as one tree. A refusal is not here: it is a value (:mod:`billing.refusals`).

TollkeeperError
|-- ConfigError            tollkeeper.yaml or the environment says something that cannot be
|-- NotFound               an id or a name that nothing in the ledger carries
|-- Conflict               the same reference or id with another content
|-- InvalidInput           an argument that can never succeed, whatever the state
|-- LedgerBroken           an invariant of the ledger does not hold; a person has to look
`-- Unavailable            a part did not answer in time; trying again can help
    |-- StoreUnavailable   Postgres or Redis
    `-- QueueFull          a bounded queue of ours has no room
"""

from __future__ import annotations


class TollkeeperError(Exception):
    """Root of every fault that Tollkeeper raises on purpose; its text says what to do."""


class ConfigError(TollkeeperError):
    """The configuration cannot be used; names file, line and key where known."""


class NotFound(TollkeeperError):
    """Nothing carries this id or name."""


class Conflict(TollkeeperError):
    """The same reference or id came with another content."""


class InvalidInput(TollkeeperError):
    """The argument can never succeed."""


class LedgerBroken(TollkeeperError):
    """An invariant of the ledger does not hold."""


class Unavailable(TollkeeperError):
    """A part did not answer in time."""


class StoreUnavailable(Unavailable):
    """Postgres or Redis did not answer in time."""


class QueueFull(Unavailable):
    """A bounded queue has no room."""

"""The whole stack on one machine, for ``tollkeeper up``, ``tollkeeper demo`` and the tests."""

from tollkeeper.stack.plan import StackOptions
from tollkeeper.stack.stack import Stack

__all__ = ["Stack", "StackOptions"]

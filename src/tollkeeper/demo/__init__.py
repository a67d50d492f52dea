"""``tollkeeper demo``: real requests, paid, refused and settled, in under a minute."""

from tollkeeper.demo.story import demo

__all__ = ["demo"]

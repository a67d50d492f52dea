"""Unit tests take seconds: properties are tried on few examples here, on many in contract tests."""

from hypothesis import settings

settings.register_profile("unit", max_examples=25, deadline=None)
settings.load_profile("unit")

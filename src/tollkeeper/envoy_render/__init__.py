"""Envoy's configuration from ``tollkeeper.yaml``: ``tollkeeper envoy render`` and ``validate``."""

from tollkeeper.envoy_render.bootstrap import bootstrap_text, render_bootstrap, render_filters
from tollkeeper.envoy_render.downstream_tls import write_gateway_secrets
from tollkeeper.envoy_render.text import to_yaml
from tollkeeper.envoy_render.validate import validate_bootstrap, validate_configuration

__all__ = [
    "bootstrap_text",
    "render_bootstrap",
    "render_filters",
    "to_yaml",
    "validate_bootstrap",
    "validate_configuration",
    "write_gateway_secrets",
]

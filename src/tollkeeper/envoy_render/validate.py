"""Let a real Envoy judge what was rendered."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from devstack import InvalidBootstrap, validate
from tollkeeper.config.schema import Config
from tollkeeper.envoy_render.bootstrap import render_bootstrap
from tollkeeper.envoy_render.downstream_tls import write_gateway_secrets
from tollkeeper.envoy_render.text import to_yaml
from tollkeeper.envoy_render.vocabulary import Rendered
from tollkeeper.settings import Settings

_FAULTS = ("critical", "error")


async def validate_configuration(config: Config, settings: Settings) -> list[str]:
    """Envoy's complaints of what a configuration renders to, as :func:`validate_bootstrap`.

    Raises :class:`~billing.errors.ConfigError` for certificates of clients' listener that cannot be
    used, which Envoy does not look at before it serves.
    """
    if settings.gateway_tls is not None:
        await asyncio.to_thread(settings.gateway_tls.check)
    with tempfile.TemporaryDirectory(prefix="tollkeeper-tls-") as folder:
        trial = settings.model_copy(update={"gateway_tls_dir": Path(folder)})
        await asyncio.to_thread(write_gateway_secrets, trial)
        return await validate_bootstrap(render_bootstrap(config, trial))


async def validate_bootstrap(bootstrap: Rendered) -> list[str]:
    """Run ``envoy --mode validate`` over a bootstrap; Envoy's complaints, none when it accepts.

    Raises :class:`devstack.PartMissing` where no Envoy is installed.
    """
    with tempfile.TemporaryDirectory(prefix="tollkeeper-envoy-") as folder:
        path, log_path = Path(folder, "envoy.yaml"), Path(folder, "envoy.log")
        await asyncio.to_thread(path.write_text, to_yaml(bootstrap))
        try:
            await validate(path, log_path)
        except InvalidBootstrap as refused:
            lines = [line for line in str(refused).splitlines() if line.strip()]
            return [line for line in lines if any(f"[{kind}]" in line for kind in _FAULTS)] or lines
    return []

"""Let a real Envoy judge what was rendered."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from devstack import InvalidBootstrap, validate
from tollkeeper.envoy_render.text import to_yaml
from tollkeeper.envoy_render.vocabulary import Rendered

_FAULTS = ("critical", "error")


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

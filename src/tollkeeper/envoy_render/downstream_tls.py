"""TLS of Envoy's own listeners: of the gateway, and of the Envoy around a hosted worker.

Certificates are named in files beside the bootstrap (SDS), because Envoy reads what stands in a
bootstrap only once. These files hold paths, no keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from billing.errors import ConfigError
from tollkeeper.envoy_render.vocabulary import Rendered, extension, seconds, typed
from tollkeeper.settings import Settings
from tollkeeper.tls_files import ListenerTls

_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a message's name
_CERTIFICATE = "tls_certificate"
_AUTHORITY = "validation_context"

HANDSHAKE_MS = 10_000
"""How long a client may take for its handshake, as for its headers."""
CLIENT_PROTOCOLS = ("h2", "http/1.1")


def gateway_encryption(settings: Settings) -> Rendered:
    """What the filter chain of the gateway's listener has besides; nothing where it is in clear."""
    if settings.gateway_tls is None:
        return {}
    folder = gateway_folder(settings)
    return {
        "transport_socket": tls_socket(settings.gateway_tls, folder, CLIENT_PROTOCOLS),
        "transport_socket_connect_timeout": seconds(HANDSHAKE_MS),
    }


def gateway_folder(settings: Settings) -> Path:
    """Where the gateway's Envoy finds what :func:`write_secrets` writes."""
    return settings.gateway_tls_dir or settings.home.absolute() / "gateway-tls"


def write_gateway_secrets(settings: Settings, folder: Path | None = None) -> Path | None:
    """Write what the gateway's Envoy needs beside its bootstrap; where it lies, ``None`` for none.

    ``folder`` is another name of :func:`gateway_folder`, where it has one here.
    Raises :class:`ConfigError`.
    """
    if settings.gateway_tls is None:
        return None
    found = folder or gateway_folder(settings)
    write_secrets(settings.gateway_tls, found)
    return found


def tls_socket(tls: ListenerTls, folder: Path, protocols: Sequence[str]) -> Rendered:
    """A listener's transport socket, over the secrets in ``folder``; TLS 1.2 or newer.

    With an authority for clients no handshake succeeds without a certificate of it.
    """
    common: Rendered = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": list(protocols),
        "tls_certificate_sds_secret_configs": [_found_in(folder, _CERTIFICATE)],
    }
    fields: Rendered = {"common_tls_context": common}
    if tls.client_ca is not None:
        common["validation_context_sds_secret_config"] = _found_in(folder, _AUTHORITY)
        fields["require_client_certificate"] = True
    return extension("envoy.transport_sockets.tls", _CONTEXT, fields)


def write_secrets(tls: ListenerTls, folder: Path, *, watched: Path | None = None) -> None:
    """Write what :func:`tls_socket` refers to; :class:`ConfigError` when that is not possible.

    Envoy reads certificates again when something is renamed within ``watched``; by default within
    the folder of any of them, which is how Kubernetes and careful people replace files.
    """
    pair = {"certificate_chain": _file(tls.certificate), "private_key": _file(tls.key)}
    secrets: dict[str, Rendered] = {_CERTIFICATE: pair}
    if tls.client_ca is not None:
        secrets[_AUTHORITY] = {"trusted_ca": _file(tls.client_ca)}
    watch = {} if watched is None else {"watched_directory": {"path": str(watched)}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, fields in secrets.items():
            secret = typed(_SECRET, {"name": kind, kind: fields | watch})
            _replace(_path(folder, kind), json.dumps({"resources": [secret]}) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}") from error


def _found_in(folder: Path, kind: str) -> Rendered:
    where = {"path_config_source": {"path": str(_path(folder, kind))}}
    return {"name": kind, "sds_config": where}


def _path(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.json"


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: an Envoy may be reading."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def _file(path: Path) -> Rendered:
    return {"filename": str(path.absolute())}

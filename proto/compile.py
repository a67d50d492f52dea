"""Compile proto/envoyapi/*.proto into DEST/envoyapi: messages, their types and the services.

Usage: python proto/compile.py DEST. The files of google.protobuf come with grpcio-tools, those of
google.rpc with googleapis-common-protos.
"""

import sys
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent


def compile_into(dest: Path) -> None:
    """Write the generated modules under ``dest``; exits with protoc's code when it fails."""
    (dest / "envoyapi").mkdir(parents=True, exist_ok=True)
    sources = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.glob("envoyapi/*.proto"))
    includes = (PROTO, files("grpc_tools") / "_proto", google_rpc_include())
    code = protoc.main(
        [
            "protoc",
            *(f"--proto_path={path}" for path in includes),
            f"--python_out={dest}",
            f"--pyi_out={dest}",
            f"--grpc_python_out={dest}",
            *sources,
        ]
    )
    if code != 0:
        sys.exit(code)
    drop_empty_services(dest / "envoyapi")


def google_rpc_include() -> Path:
    """The directory that holds google/rpc/status.proto."""
    return Path(str(distribution("googleapis-common-protos").locate_file("")))


def drop_empty_services(generated: Path) -> None:
    """Remove the service modules of files without a service: they hold only a version check."""
    for module in generated.glob("*_pb2_grpc.py"):
        if "Servicer" not in module.read_text():
            module.unlink()


if __name__ == "__main__":
    compile_into(Path(sys.argv[1]))

"""The management API and the customers' self-service, over the operations of the command line."""

from tollkeeper.admin.app import create_app
from tollkeeper.admin.callers import AdminDeps
from tollkeeper.admin.serving import serve_admin

__all__ = ["AdminDeps", "create_app", "serve_admin"]

"""The management API and the customers' self-service, over the operations of the command line."""

from tollkeeper.admin.app import create_app
from tollkeeper.admin.callers import AdminDeps

__all__ = ["AdminDeps", "create_app"]

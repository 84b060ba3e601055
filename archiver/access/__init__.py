"""Who may do what in the database: the readers' and the writer's roles.

Three roles, so that none can do more than its work needs: the *owner* migrates and grants (database.url of `archiver
migrate` and `archiver bi`), the *writer* archives (`archiver run`), *readers* ask. docs/operations.md tells operators.
"""

from archiver.access.reader import Limits, grant_reader, readers, revoke_reader
from archiver.access.role import Granted, RoleRefused, address
from archiver.access.writer import grant_writer

__all__ = ["Granted", "Limits", "RoleRefused", "address", "grant_reader", "grant_writer", "readers", "revoke_reader"]

"""The embedded store, `file://`: one object is one plain file under a directory.

It is the store of desktop mode: people look into the directory and edit what lies there. So an object is nothing
but a file, its key the path; all that S3 knows besides (metadata, versions, unfinished uploads) lies in an
extended attribute of the file or in `.agentfs-store`. Files that came by other means are objects without
metadata; directories are prefixes; whatever is neither (symlinks, FIFOs, sockets) is left alone.
"""

from vfs.store.local.store import LocalStatistics, LocalStore

__all__ = ["LocalStatistics", "LocalStore"]

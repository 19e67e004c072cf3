"""Multipart uploads: one directory each, gone when the upload is completed or aborted.

    uploads/<id>/manifest.json    key, metadata and when it was begun
    uploads/<id>/...              its parts, see `parts`

Parts are not fsynced: an upload that did not complete before a crash stands for nothing. Completing it installs
one new file, as any put does. The parts stay until that is done, so that a completion that failed can be repeated.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from vfs.errors import KeyRefused, StoreError, UploadNotFound
from vfs.store.base import Body, Capabilities, ObjectInfo, ObjectMeta, Part, Upload, UploadId
from vfs.store.local.conditions import Condition
from vfs.store.local.objects import Objects
from vfs.store.local.parts import Parts
from vfs.store.local.places import locate
from vfs.store.local.records import Clock, Record, check_meta, from_document
from vfs.store.local.syscalls import write_all
from vfs.store.local.temps import Temps
from vfs.store.local.tree import Tree, lstat, open_directory, open_file
from vfs.types import ETag, Key

_MANIFEST = "manifest.json"
_ID = re.compile(r"[0-9a-f]{24}")


class Uploads:
    """The unfinished uploads of one store, in the tree `uploads`."""

    def __init__(
        self, tree: Tree, objects: Objects, temps: Temps, clock: Clock, capabilities: Capabilities
    ) -> None:
        self._tree = tree
        self._objects = objects
        self._temps = temps
        self._clock = clock
        self._parts = Parts(temps, clock)
        self._capabilities = capabilities

    def create(self, key: Key, meta: ObjectMeta) -> Upload:
        check_meta(meta)
        if locate(key).is_dir:
            raise KeyRefused(f"{key!r} is a directory here and cannot have content")
        upload = Upload(key, UploadId(secrets.token_hex(12)), self._clock.tick())
        record = Record(ETag(""), meta)
        manifest = {"key": key, "begun_ns": upload.begun_ns, "record": record.document()}
        with (
            self._tree.directory(()) as uploads,
            self._temps.new_directory() as directory,
            self._temps.new() as temp,
        ):
            write_all(temp.fd, [json.dumps(manifest).encode()])
            temp.install(directory.fd, _MANIFEST)
            directory.install(uploads, upload.id)
        self._parts.begin(upload)
        return upload

    def put_part(self, upload: Upload, number: int, body: Body) -> Part:
        self._check_number(number)
        with self._directory(upload) as directory:
            return self._parts.write(directory, upload, number, body)

    def copy_part(
        self, upload: Upload, number: int, source: Key, *, start: int, length: int, if_match: ETag | None
    ) -> Part:
        self._check_number(number)
        with self._directory(upload) as directory, self._objects.opened(source, if_match) as (fd, status):
            if start < 0 or length < 0 or start + length > status.st_size:
                raise StoreError(f"{source!r} has no bytes [{start}, {start + length})")
            return self._parts.copy(directory, number, (fd, status), start, length)

    def _check_number(self, number: int) -> None:
        if not 1 <= number <= self._capabilities.max_parts:
            raise StoreError(f"part number {number} is not in 1 to {self._capabilities.max_parts}")

    def complete(
        self, upload: Upload, parts: Sequence[Part], meta: ObjectMeta | None, condition: Condition
    ) -> ObjectInfo:
        """Raises StoreError if the parts are not those that were stored, in ascending order."""
        with self._directory(upload, exclusive=True) as directory:
            begun, record = self._manifest(directory)
            if begun.key != upload.key:
                raise UploadNotFound(f"upload {upload.id!r} is for another key")
            chosen = record.meta if meta is None else check_meta(meta)
            ranges = self._parts.chosen(directory, parts, self._capabilities.min_part)
            with self._parts.assembled(directory, ranges) as temp:
                info = self._objects.install(temp, upload.key, chosen, condition)
            self._remove(upload)
        return info

    def abort(self, upload: Upload) -> None:
        with suppress(UploadNotFound), self._directory(upload, exclusive=True):
            self._remove(upload)

    def listed(self, prefix: str) -> list[Upload]:
        """Unfinished uploads of keys under the prefix, by key and time of beginning."""
        found: list[Upload] = []
        with self._tree.directory(()) as directory:
            for name in os.listdir(directory):
                with suppress(FileNotFoundError, NotADirectoryError):
                    found.append(self._read(UploadId(name)))
        matching = [upload for upload in found if upload.key.startswith(prefix)]
        return sorted(matching, key=lambda upload: (upload.key, upload.begun_ns))

    def parts(self, upload: Upload) -> list[Part]:
        with self._directory(upload) as directory:
            return [stored.part for stored in self._parts.listed(directory)]

    def _read(self, upload_id: UploadId) -> Upload:
        with self._tree.directory((upload_id,)) as directory:
            upload, _ = self._manifest(directory)
        return Upload(upload.key, upload_id, upload.begun_ns)

    def _manifest(self, directory: int) -> tuple[Upload, Record]:
        fd, status = open_file(directory, _MANIFEST)
        try:
            document = json.loads(os.pread(fd, status.st_size, 0))
        finally:
            os.close(fd)
        record = from_document(document["record"])
        assert record is not None, "written by `create`"
        return Upload(Key(document["key"]), UploadId(""), int(document["begun_ns"])), record

    @contextmanager
    def _directory(self, upload: Upload, *, exclusive: bool = False) -> Iterator[int]:
        """The upload's directory. Completions and abortions of one upload exclude each other."""
        if not _ID.fullmatch(upload.id):
            raise UploadNotFound(f"no upload {upload.id!r}")
        try:
            with self._tree.directory(()) as all_of_them:
                fd = open_directory(all_of_them, upload.id)
        except FileNotFoundError as error:
            raise UploadNotFound(f"no upload {upload.id!r}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            if lstat(fd, _MANIFEST) is None:
                raise UploadNotFound(f"upload {upload.id!r} is over")
            yield fd
        finally:
            os.close(fd)

    def _remove(self, upload: Upload) -> None:
        with self._tree.directory(()) as directory:
            self._temps.discard(directory, upload.id)
        self._parts.end(upload)

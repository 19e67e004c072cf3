"""A directory tree in plain dictionaries, and what the kernel allows to be done to it.

Paths are relative to the top; "" is the top itself. Every operation says whether it can be done, and does it then.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Node:
    """A file with its bytes, or a directory."""

    data: bytes | None = None
    mode: int = 0o755

    @property
    def is_dir(self) -> bool:
        return self.data is None


@dataclass
class PlainTree:
    """By path. The top is always there."""

    nodes: dict[str, Node] = field(default_factory=lambda: {"": Node()})

    def save(self, path: str, data: bytes) -> bool:
        before = self.nodes.get(path)
        if before.is_dir if before else not self._has_parent(path):
            return False
        self.nodes[path] = Node(data, before.mode if before else 0o644)
        return True

    def append(self, path: str, data: bytes) -> bool:
        before = self.nodes.get(path)
        return self.save(path, ((before.data if before else b"") or b"") + data)

    def chmod(self, path: str, mode: int) -> bool:
        if path not in self.nodes:
            return False
        self.nodes[path] = Node(self.nodes[path].data, mode)
        return True

    def mkdir(self, path: str) -> bool:
        if path in self.nodes or not self._has_parent(path):
            return False
        self.nodes[path] = Node()
        return True

    def unlink(self, path: str) -> bool:
        if path not in self.nodes or self.nodes[path].is_dir:
            return False
        del self.nodes[path]
        return True

    def rmdir(self, path: str) -> bool:
        if path not in self.nodes or not self.nodes[path].is_dir or self._below(path):
            return False
        del self.nodes[path]
        return True

    def rename(self, old: str, new: str) -> bool:
        before, after = self.nodes.get(old), self.nodes.get(new)
        if before is None or not self._has_parent(new) or new.startswith(f"{old}/"):
            return False
        if old == new:
            return True
        if after is not None and (after.is_dir != before.is_dir or self._below(new)):
            return False
        moved = {path: self.nodes.pop(path) for path in [old, *self._below(old)]}
        self.nodes |= {new + path[len(old) :]: node for path, node in moved.items()}
        return True

    def _has_parent(self, path: str) -> bool:
        parent = self.nodes.get(path.rpartition("/")[0])
        return parent is not None and parent.is_dir

    def _below(self, path: str) -> list[str]:
        return [each for each in self.nodes if each.startswith(f"{path}/")]

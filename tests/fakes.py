"""Stores for tests: one in memory that behaves as S3 does, and one that makes any store misbehave.

`tests/contract` runs on both, so what is tested on them holds for the real ones.
"""

from tests.fault_store import Fault, FaultStore
from tests.memory_store import S3_LIKE, MemoryStore

__all__ = ["S3_LIKE", "Fault", "FaultStore", "MemoryStore"]

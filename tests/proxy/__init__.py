"""A proxy between an S3 client and an S3 server that counts every request, and breaks what it is told to break.

    with Proxy("http://127.0.0.1:9000") as proxy:
        proxy.add(LostReply(), "CompleteMultipartUpload$", count=1)
        with proxy.counting() as counts:
            ...  # a client that was given proxy.url
        assert counts.kinds == {"CreateMultipartUpload": 1, "UploadPart": 8, "CompleteMultipartUpload": 2}

Heads and bodies are passed on as they came, Host included: a client signs for the proxy's own address.
"""

from tests.proxy.actions import (
    Action,
    Bandwidth,
    Corrupt,
    Hang,
    Latency,
    LostReply,
    Reset,
    ResetBody,
    Rule,
    Status,
    Truncate,
)
from tests.proxy.proxy import Proxy
from tests.proxy.records import Counting, Request

__all__ = [
    "Action",
    "Bandwidth",
    "Corrupt",
    "Counting",
    "Hang",
    "Latency",
    "LostReply",
    "Proxy",
    "Request",
    "Reset",
    "ResetBody",
    "Rule",
    "Status",
    "Truncate",
]

"""One line per event: time, level, event, key=value. To stderr, or to a file that cannot fill a disk.

Everything goes through stdlib logging, so that libraries and the warnings module end in the same place, and every
line passes `redact` last: a URL with a password in it is never written, whoever logged it.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import Processor

FILE_BYTES = 8 << 20
FILES_KEPT = 3
"""Old files beside the current one: a log takes at most 32 MiB."""

_USERINFO = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\"]*@")
_SECRET_PARAMETER = re.compile(
    r"(?<![A-Za-z0-9])((?:x-amz-)?(?:signature|security-token|credential)|password|passwd|secret|secret[_-]?(?:access[_-]?)?key"
    r"|access[_-]?key(?:[_-]?id)?|token|api[_-]?key|authorization)(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s&,;'\"]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text without user and password of URLs, and without what is called a secret, token or signature."""
    text = _USERINFO.sub(r"\1***@", text)
    return _SECRET_PARAMETER.sub(r"\1\2***", text)


class LogFile(logging.handlers.RotatingFileHandler):
    """Mode 0600. With `adopt`, the process's own stdout and stderr follow it, also after a rotation.

    What libfuse or a crashing interpreter prints goes to descriptor 2 and would otherwise be lost.
    """

    def __init__(self, path: Path, *, adopt: bool = False) -> None:
        self._adopt = adopt
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")

    def _open(self) -> Any:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._adopt:
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        return open(descriptor, self.mode, encoding=self.encoding, errors="backslashreplace")


class Line(structlog.stdlib.ProcessorFormatter):
    """One event, one line, no secret."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure(level: str, file: Path | None, *, adopt: bool = False) -> None:
    """Sets up all logging of this process. Raises OSError when the file cannot be opened."""
    handler: logging.Handler = LogFile(file, adopt=adopt) if file else logging.StreamHandler(sys.stderr)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.LogfmtRenderer(
        key_order=["time", "level", "event"], drop_missing=True, bool_as_flag=False
    )
    handler.setFormatter(
        Line(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _plain, renderer],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _plain(_logger: object, _name: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Values as logfmt can hold them: keys without blanks, no line breaks that would tear a line."""
    return {re.sub(r"[\s=\"]", "_", str(key)): _value(value) for key, value in event.items()}


def _value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value).rstrip("\n").replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")

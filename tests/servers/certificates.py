"""Certificates for servers that speak TLS, signed by an authority that nobody else knows (Debian: openssl)."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = "2"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
CONFIG = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[host]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
"""Of our own: that of the system decides what it adds, and Python 3.13 is strict about what is there."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM format."""

    certificate: Path
    key: Path


class Authority:
    """Keeps its files in `directory`, which has to be there."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("openssl")
        assert program, "openssl is missing; run: make test"
        self._program = program
        self._directory = directory
        self._config = directory / "openssl.cnf"
        self._config.write_text(CONFIG)
        self._own = self._made("authority", "authority")

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def issued(self, name: str, hosts: str = "IP:127.0.0.1") -> Certificate:
        """For `hosts`, as in a subjectAltName: `DNS:redis.example.org,IP:127.0.0.1`."""
        signer = ("-CA", str(self._own.certificate), "-CAkey", str(self._own.key))
        return self._made(name, "host", *signer, "-addext", f"subjectAltName={hosts}")

    def locked(self, certificate: Certificate, path: Path) -> Path:
        """Its key once more, in `path`, with a passphrase."""
        self._run("pkey", "-in", certificate.key, "-aes256", "-passout", "pass:phrase", "-out", path)
        return path

    def _made(self, name: str, section: str, *options: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        days = ("-days", DAYS, "-subj", f"/CN={name}", "-extensions", section)
        files = ("-keyout", made.key, "-out", made.certificate)
        self._run("req", "-x509", "-config", self._config, *KEY, *days, *options, *files)
        return made

    def _run(self, *words: str | Path) -> None:
        argv = [self._program, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr

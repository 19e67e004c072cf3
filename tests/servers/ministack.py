"""MiniStack: quick to start, keeps everything in RAM, checks signatures and policies, conditional writes right.

It does not enforce the least size and the order of parts, ignores Range in HEAD and `if-none-match` of CopyObject.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

from tests.mountinfo import remove_tree
from tests.servers.client import Client, leaves
from tests.servers.server import Process, Server, free_port, installed

PROGRAM = ".venv-ministack/bin/ministack"
REGION = "us-east-1"
BUCKET = "agentfs-test"

_ROOT = "test"
"""Key and secret of the root account. Its signatures are not checked, so tests never use it for S3."""


class MiniStack:
    """A running MiniStack with one bucket, and one user who may do everything."""

    def __init__(self) -> None:
        program = installed(PROGRAM)
        self._directory = Path(tempfile.mkdtemp(prefix="agentfs-ministack-"))
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._iam = Client(self.endpoint, REGION, _ROOT, _ROOT, "")
        self._users: dict[str, str] = {}
        """Names by access key."""
        self.process = Process("ministack", [program], self._environment(), self._directory)
        try:
            self.process.wait_for(self.port)
            self.server = self.make_user()
            self.server.client.make_bucket()
        except BaseException:
            self.stop()
            raise

    def make_user(self, deny: Sequence[str] = (), prefix: str = "") -> Server:
        """The same bucket with the key of a new user.

        Refused are the actions in `deny` (`s3:PutObject`, `s3:Delete*`), on keys that start with `prefix`.
        """
        name = f"user{len(self._users) + 1}"
        self._ask("CreateUser", UserName=name)
        key = self._ask("CreateAccessKey", UserName=name)
        self._users[key["AccessKeyId"]] = name
        user = Server(self.endpoint, REGION, BUCKET, key["AccessKeyId"], key["SecretAccessKey"])
        self.deny(user, deny, prefix)
        return user

    def deny(self, user: Server, actions: Sequence[str], prefix: str = "") -> None:
        """From now on that user is refused these actions, as in `make_user`, and may do all others."""
        arn = f"arn:aws:s3:::{BUCKET}"
        statements = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
        if actions:
            where = [f"{arn}/{prefix}*"] if prefix else [arn, f"{arn}/*"]
            statements.append({"Effect": "Deny", "Action": list(actions), "Resource": where})  # type: ignore[dict-item]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        name = self._users[user.access_key]
        self._ask("PutUserPolicy", UserName=name, PolicyName="tests", PolicyDocument=policy)

    def switch_key(self, user: Server, *, on: bool) -> None:
        """Makes that user's key invalid, or valid again."""
        status = "Active" if on else "Inactive"
        name = self._users[user.access_key]
        self._ask("UpdateAccessKey", UserName=name, AccessKeyId=user.access_key, Status=status)

    def with_wrong_secret(self) -> Server:
        return replace(self.server, secret_key="x" * 40)

    def stop(self) -> None:
        self.process.stop()
        remove_tree(self._directory)

    def _ask(self, action: str, **arguments: str) -> dict[str, str]:
        """One call of IAM: the values of its answer by name."""
        body = urlencode({"Action": action, "Version": "2010-05-08"} | arguments).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return dict(leaves(self._iam.send("iam", "POST", "/", {}, headers, body).body))

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._directory),
            "TMPDIR": str(self._directory),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "s3,iam,sts",
            "AUTH": "true",
            "LOG_LEVEL": "WARNING",
            "AWS_ACCESS_KEY_ID": _ROOT,
            "AWS_SECRET_ACCESS_KEY": _ROOT,
        }

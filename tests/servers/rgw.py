"""Ceph's radosgw, a production S3 server, on one monitor and one OSD that keeps everything in RAM.

For runs by hand: `make test-rgw`. If-Match on a PUT works only with the ETag unquoted, preconditions on Complete and
on UploadPartCopy are ignored, and 16.2 refuses aws-chunked trailers.
Needs root and the Debian packages ceph-common ceph-mon ceph-osd radosgw.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from tests.mountinfo import remove_tree
from tests.servers.client import Refused
from tests.servers.server import Process, Server, free_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
BUCKET = "agentfs-test"
ACCESS_KEY = "rgw-tests-only"
SECRET_KEY = "rgw-tests-only-secret"
SECONDS = 120

# tcp_nodelay: without it every answer waits 40 ms. Mode crc: without keys the monitor could not encrypt.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon_port}]
public_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_cluster_mode = crc
ms_mon_service_mode = crc
ms_mon_client_mode = crc
run_dir = {directory}
admin_socket = {directory}/$name.asok
log_file = {directory}/$name.ceph.log
crash_dir = {directory}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
[mon.a]
mon_data = {directory}/mon
[osd.0]
osd_data = {directory}/osd
osd_objectstore = memstore
memstore_device_bytes = 8589934592
[client.rgw]
rgw_data = {directory}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_enable_usage_log = false
"""


class Rgw:
    """A running radosgw with one bucket. Its data go with it."""

    def __init__(self) -> None:
        missing = [name for name in PROGRAMS if not shutil.which(name)]
        assert not missing, f"{', '.join(missing)} missing; run: make test-rgw"
        self._directory = Path(tempfile.mkdtemp(prefix="agentfs-rgw-"))
        self._processes: list[Process] = []
        self.port = free_port()
        self.server = Server(f"http://127.0.0.1:{self.port}", "us-east-1", BUCKET, ACCESS_KEY, SECRET_KEY)
        try:
            self._start()
            self.server.client.make_bucket()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self._processes:
            self._processes.pop().stop()
        remove_tree(self._directory)

    def _start(self) -> None:
        mon_port, fsid, osd = free_port(), str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            (self._directory / name).mkdir()
        text = _CONFIGURATION.format(fsid=fsid, mon_port=mon_port, port=self.port, directory=self._directory)
        (self._directory / "ceph.conf").write_text(text)
        address = ["--addv", "a", f"[v2:127.0.0.1:{mon_port}]"]
        self._run("monmaptool", "--create", *address, "--fsid", fsid, str(self._directory / "monmap"))
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(self._directory / "monmap"))
        self._serve("ceph-mon", "-i", "a").wait_for(mon_port)
        self._run("ceph", "osd", "new", osd, "0")
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        self._serve("ceph-osd", "-i", "0")
        user = [
            "--uid=tests",
            "--display-name=tests",
            f"--access-key={ACCESS_KEY}",
            f"--secret-key={SECRET_KEY}",
        ]
        self._run("radosgw-admin", "user", "create", *user)
        self._serve("radosgw", "-n", "client.rgw").wait_for(self.port, self._answers)

    def _answers(self) -> bool:
        try:
            self.server.with_bucket(BUCKET)
        except (Refused, OSError):
            return False
        return True

    def _serve(self, program: str, *argv: str) -> Process:
        process = Process(program, [program, *self._configured(), "-f", *argv], os.environ, self._directory)
        self._processes.append(process)
        return process

    def _run(self, program: str, *argv: str) -> None:
        command = [program, *self._configured(), *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"

    def _configured(self) -> list[str]:
        return ["-c", str(self._directory / "ceph.conf")]

"""A real S3 store over HTTP for the tests: OpenStack Swift with its S3 API, all of it in one temporary folder.

`SwiftStore(folder)` runs this file as a script. That process builds the rings and forks Swift's four servers
(account, container, object, proxy), each on a free port of the loopback interface. It ends with the process that
started it, however that one ends, and the servers end with it.
"""

import contextlib
import ctypes
import getpass
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from free_ports import free_ports

BACKENDS = ("account", "container", "object")
ACCESS_KEY = "test:tester"  # Swift's tempauth wants account:user
SECRET_KEY = "testing"
REGION = "us-east-1"
START_LIMIT_S = 60.0

_SWIFT_CONF = """
[swift-hash]
swift_hash_path_prefix = liser
swift_hash_path_suffix = liser

[storage-policy:0]
name = one
default = yes
"""

# Long timeouts: the daemons that make up for an update that timed out do not run here.
_DEFAULTS = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {data}
mount_check = false
user = {user}
disable_fallocate = true
fallocate_reserve = 0
container_update_timeout = 60
"""

_BACKEND = """
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
conn_timeout = 20
node_timeout = 60
auto_create_account_prefix = .
recon_cache_path = {folder}
log_requests = false
replication_server = false
"""

_PLAIN_FILTERS = [
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "listing_formats",
    "bulk",
    "copy",
    "dlo",
    "versioned_writes",
    "symlink",
]
_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth bulk copy dlo slo
    versioned_writes symlink proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
conn_timeout = 20
node_timeout = 60
recoverable_node_timeout = 60
error_suppression_limit = 1000000

[filter:cache]
paste.filter_factory = swift_store:cache_filter

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_upload_part_num = 10000

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
# Same account, no rights: its requests are answered with AccessDenied.
user_test_nobody = nobody

[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
max_manifest_size = 16777216
""" + "".join(f"\n[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN_FILTERS)


def data_folder(folder: Path) -> Path | None:
    """A new folder whose files take user xattrs, where Swift keeps its metadata: below `folder`, else in /dev/shm."""
    for parent in (folder, Path("/dev/shm")):
        with contextlib.suppress(OSError):
            data = Path(tempfile.mkdtemp(prefix="swift-", dir=parent))
            try:
                os.setxattr(data, "user.swift.test", b"x" * 1000)
                return data
            except OSError:
                data.rmdir()
    return None


class SwiftStore:
    """A running store. `client` is a boto3 client for it, `environment` what makes other S3 clients use it."""

    def __init__(self, folder: Path, data: Path):
        self._data = data
        ports = free_ports(len(BACKENDS) + 1)
        self.access_key, self.secret_key, self.region = ACCESS_KEY, SECRET_KEY, REGION
        self.endpoint = f"http://127.0.0.1:{ports[-1]}"
        self._log = folder / "swift.log"
        command = [sys.executable, "-W", "ignore", __file__, str(os.getpid()), str(folder), str(data)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *map(str, ports)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        import boto3  # not for the process that forks

        try:
            self._wait_until_up(ports)
            self.client = boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
                region_name=REGION,
            )
        except BaseException:
            self.close()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point boto3 and pyarrow here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,  # boto3 reads this one, pyarrow's AWS SDK the other
        }

    def bucket(self) -> str:
        """Name of a new, empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:8]}"
        self.client.create_bucket(Bucket=name)
        return name

    def close(self) -> None:
        """End the servers and take their data away."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._data, ignore_errors=True)

    def _wait_until_up(self, ports: list[int]) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not all(_answers(port, is_proxy=port == ports[-1]) for port in ports):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Swift did not start:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)


def _answers(port: int, is_proxy: bool) -> bool:
    try:
        if not is_proxy:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except OSError:
        return False


# From here on: inside the process that `SwiftStore` starts.


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _write_settings(folder: Path, data: Path, ports: list[int]) -> None:
    from swift.common.ring import RingBuilder

    (folder / "swift.conf").write_text(_SWIFT_CONF)
    (data / "d1").mkdir()
    for name, port in zip((*BACKENDS, "proxy"), ports, strict=True):
        values = {"name": name, "port": port, "folder": folder, "data": data, "user": getpass.getuser()}
        settings = _DEFAULTS + (_PROXY if name == "proxy" else _BACKEND)
        (folder / f"{name}.conf").write_text(settings.format(**values))
    for name, port in zip(BACKENDS, ports[:-1], strict=True):
        builder = RingBuilder(part_power=3, replicas=1, min_part_hours=0)
        device = {"id": 0, "region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": ""}
        address = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
        builder.add_dev(device | address)
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{name}.ring.gz"))


_now = time.monotonic


class _Cache:
    """What the proxy wants of memcached (facts of accounts and buckets), in its one process: twice the requests/s."""

    def __init__(self):
        self._items: dict[str, tuple[float, Any]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        until, value = self._items.get(key, (0.0, None))
        return value if until > _now() else None

    def set(self, key: str, value: Any, time: float = 0, **ignored: Any) -> None:  # memcached's name for "for so long"
        self._items[key] = (_now() + (time or 60), json.loads(json.dumps(value)))

    def delete(self, key: str, server_key: str | None = None) -> None:
        self._items.pop(key, None)

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        value = (self.get(key) or 0) + delta
        self.set(key, value, time)
        return value


def cache_filter(settings: dict[str, str], **more: str) -> Callable[[Any], Any]:
    """Paste filter factory, named in the proxy's settings."""
    cache = _Cache()

    def with_cache(app: Any) -> Any:
        def call(environ: dict[str, Any], start_response: Any) -> Any:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return call

    return with_cache


def _main(parent: int, folder: Path, data: Path, ports: list[int]) -> int:
    _end_with(parent)
    from swift.common import utils, wsgi  # slow to import: once, before the forks

    _write_settings(folder, data, ports)
    utils.set_swift_dir(str(folder))
    me = os.getpid()
    servers = []
    for name in (*BACKENDS, "proxy"):
        pid = os.fork()
        if pid == 0:
            _end_with(me)
            os._exit(wsgi.run_wsgi(str(folder / f"{name}.conf"), f"{name}-server", verbose=True) or 0)
        servers.append(pid)
    _, status = os.wait()  # they run until this process is ended; one that ends by itself could not start
    for pid in servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return status >> 8 or 1


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), [int(port) for port in sys.argv[4:]]))

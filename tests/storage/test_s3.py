"""The S3 store as a job meets it: one reading of the environment, patience with faults, and refusals in words."""

import itertools
import json
import os
import pickle
import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody
from fault_proxy import CUT, SLOW_DOWN, STALL, FaultProxy
from local_http import LocalServer, QuietHandler
from many_keys import ManyKeys

from liser_ray.corpora.recordings import list_recordings
from liser_ray.media.outcome import MediaError
from liser_ray.media.source import Source
from liser_ray.runtime.errors import UserError
from liser_ray.storage import s3
from liser_ray.storage.files import (
    check_readable,
    check_writable,
    exists,
    filesystem,
    list_files,
    read_bytes,
    replace_parquet,
    write_bytes,
)
from liser_ray.storage.retries import retried
from liser_ray.storage.s3 import connection


@pytest.fixture
def bucket(s3_store):
    return s3_store.bucket()


@pytest.fixture
def no_keys(tmp_path, monkeypatch):
    """An environment in which nothing says who asks."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


class TestFaults:
    @pytest.mark.parametrize("faults", [{SLOW_DOWN: 10, CUT: 10}, {STALL: 2}])
    def test_what_is_written_is_what_is_read(self, s3_store, bucket, monkeypatch, faults):
        rng = np.random.default_rng(0)
        monkeypatch.setenv("LISER_S3_TIMEOUT_S", "1")
        with FaultProxy(s3_store.endpoint, seed=7, **faults) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            for n_bytes in (0, 1, 100, 100_000, 12 << 20):  # the last one in parts
                data = rng.bytes(n_bytes)
                write_bytes(f"s3://{bucket}/files/{n_bytes}", data)
                assert read_bytes(f"s3://{bucket}/files/{n_bytes}") == data
            with filesystem(f"s3://{bucket}/x.csv.gz")[0].open_output_stream(
                f"{bucket}/files/x.csv.gz", compression=None, metadata={"Content-Type": "text/csv"}
            ) as stream:
                stream.write(b"not compressed")
            assert read_bytes(f"s3://{bucket}/files/x.csv.gz") == b"not compressed"
            table = pa.table({"span_id": ["a", "b"]})
            fs, path = filesystem(f"s3://{bucket}/tables/x.pending.parquet")
            fs.create_dir(f"{bucket}/tables", recursive=True)
            for _ in range(2):
                replace_parquet(path, fs, table)
                fs.move(path, f"{bucket}/tables/x.parquet")  # as Ray commits
                assert pq.read_table(f"{bucket}/tables/x.parquet", filesystem=fs).equals(table)
                assert [one.base_name for one in list_files(f"s3://{bucket}/tables", ".parquet")] == ["x.parquet"]
                assert len(list(s3.list_objects(bucket, "files/"))) == 6
                fs.delete_file(f"{bucket}/tables/x.parquet")
                assert not exists(f"s3://{bucket}/tables/x.parquet")
        assert all(proxy.done[fault] for fault in faults)

    def test_a_recording_is_read_to_its_end(self, s3_store, bucket, monkeypatch):
        data = np.random.default_rng(0).bytes(12 << 20)
        s3_store.client.put_object(Bucket=bucket, Key="a.mp4", Body=data)
        with FaultProxy(s3_store.endpoint, seed=1, slow_down=20, cut=20) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            source = Source(f"s3://{bucket}/a.mp4")
            assert b"".join(iter(lambda: source.read(1 << 20), b"")) == data
            source.release()
        assert min(proxy.done[SLOW_DOWN], proxy.done[CUT]) > 0

    @pytest.mark.parametrize(
        ("error", "passes"),
        [
            (OSError("AWS Error SLOW_DOWN during GetObject operation: SlowDown"), True),
            (FileNotFoundError("none"), False),
            (OSError("AWS Error ACCESS_DENIED during GetObject"), False),
        ],
    )
    def test_patience_ends_and_is_for_what_may_pass(self, error, passes):
        tries = []

        def fail() -> None:
            tries.append(1)
            raise error

        with pytest.raises(OSError, match=str(error)):
            retried(fail, patience_s=1)
        assert (len(tries) > 1) == passes


class TestFirstLook:
    """What is wrong is said within seconds, for the input and for the output."""

    def refusals(self, uri):
        found = []
        for check in (check_readable, check_writable):
            started = time.monotonic()
            with pytest.raises(UserError) as caught:
                check(uri)
            assert time.monotonic() - started < 20
            found.append(str(caught.value))
        return found

    def test_nothing_is_wrong_and_nothing_is_left(self, s3_store, bucket):
        s3_store.client.put_object(Bucket=bucket, Key="videos/a.mp4", Body=b"x")
        for uri in (f"s3://{bucket}", f"s3://{bucket}/videos", f"s3://{bucket}/videos/a.mp4", f"s3://{bucket}/new"):
            check_readable(uri)
        check_writable(f"s3://{bucket}/labels")
        assert [one["Key"] for one in s3.list_objects(bucket, "")] == ["videos/a.mp4"]

    @pytest.mark.parametrize("breaks", [2, 3])
    def test_an_answer_that_breaks_off_is_asked_for_again_but_not_for_ever(self, s3_store, bucket, monkeypatch, breaks):
        s3_store.client.put_object(Bucket=bucket, Key="a.mp4", Body=b"x")
        to_come, read = iter(range(breaks)), StreamingBody.read

        def break_off(body: StreamingBody, amt: int | None = None) -> bytes:
            if next(to_come, None) is not None:
                raise ResponseStreamingError(error="0 bytes read, 1 more expected")
            return read(body, amt)

        monkeypatch.setattr(StreamingBody, "read", break_off)
        if breaks == 2:
            check_readable(f"s3://{bucket}/a.mp4")
        else:
            with pytest.raises(UserError, match="can't reach the store"):
                check_readable(f"s3://{bucket}/a.mp4")

    def test_denied_access(self, bucket, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test:nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody")
        reading, writing = self.refusals(f"s3://{bucket}/a")
        assert "access denied. The credentials need s3:ListBucket and s3:GetObject there" in reading
        assert "s3:PutObject" in writing

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("AWS_SECRET_ACCESS_KEY", "wrong", "does not take these credentials"),
            ("AWS_REGION", "eu-west-3", "Set AWS_REGION"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "can't reach the store"),
        ],
    )
    def test_a_wrong_setting(self, bucket, monkeypatch, name, value, words):
        monkeypatch.setenv(name, value)
        assert all(words in text for text in self.refusals(f"s3://{bucket}/a"))

    @pytest.mark.parametrize(
        ("answer", "words"),
        [((400, "ExpiredToken"), "the credentials have expired"), ((503, "SlowDown"), "the store is busy")],
    )
    def test_expired_credentials_and_a_busy_store(self, s3_store, bucket, monkeypatch, answer, words):
        with FaultProxy(s3_store.endpoint, answer=answer) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            assert all(words in text for text in self.refusals(f"s3://{bucket}/a"))

    def test_a_wrong_bucket_no_keys_and_an_unknown_profile(self, request, bucket):
        assert all("the bucket does not exist" in text for text in self.refusals("s3://no-such-bucket-here/a"))
        no_keys = request.getfixturevalue("no_keys")
        assert all("There are no S3 credentials" in text for text in self.refusals(f"s3://{bucket}/a"))
        with pytest.raises(MediaError, match=r"Reason\.DENIED"):  # one machine without a role costs rows, not the job
            Source(f"s3://{bucket}/a.mp4")
        no_keys.setenv("AWS_PROFILE", "nobody")
        assert all("(nobody) could not be found" in text for text in self.refusals(f"s3://{bucket}/a"))


class TestWhoAsks:
    """boto3 and pyarrow ask as the same one, whatever says who that is."""

    def works(self, store, uri):
        write_bytes(f"{uri}/a", b"x")  # pyarrow
        assert s3.stat(f"{uri}/a")[0] == 1  # boto3
        assert connection().region == store.region
        check_readable(uri)

    def test_a_profile_with_a_process(self, s3_store, bucket, no_keys, tmp_path):
        keys = {"Version": 1, "AccessKeyId": s3_store.access_key, "SecretAccessKey": s3_store.secret_key}
        (tmp_path / "keys.json").write_text(json.dumps(keys))
        (tmp_path / "config").write_text(
            f"[profile lab]\nregion = {s3_store.region}\nendpoint_url = {s3_store.endpoint}\n"
            f"credential_process = cat {tmp_path}/keys.json\n"
        )
        no_keys.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        no_keys.setenv("AWS_PROFILE", "lab")
        self.works(s3_store, f"s3://{bucket}/files")

    def test_a_role_whose_keys_are_renewed(self, s3_store, bucket, no_keys):
        given = itertools.count()

        class Role(QuietHandler):
            """What a container asks for the keys of its role; the first ones are about to expire."""

            def serve(self) -> None:
                hours = 12 if next(given) else 0.1
                keys = {
                    "AccessKeyId": s3_store.access_key,
                    "SecretAccessKey": s3_store.secret_key,
                    "Token": f"session-{hours}",
                    "Expiration": (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
                self.answer(200, json.dumps(keys).encode())

        with LocalServer(Role) as server:
            no_keys.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.endpoint}/role")
            no_keys.setenv("AWS_ENDPOINT_URL", s3_store.endpoint)
            self.works(s3_store, f"s3://{bucket}/files")
        assert next(given) == 2
        assert connection().credentials.token == "session-12"

    def test_nobody_in_particular(self, no_keys):
        no_keys.setenv("AWS_NO_SIGN_REQUEST", "true")
        with ManyKeys(3) as store:
            no_keys.setenv("AWS_ENDPOINT_URL", store.endpoint)
            assert len(list_files("s3://public/videos")) == 3
            assert len(list(s3.list_objects("public", "videos/"))) == 3
        assert len(store.signed) >= 2
        assert not any(store.signed)

    def test_no_keys_travel_with_the_file_system(self, s3_store, bucket):
        fs, path = filesystem(f"s3://{bucket}/a")
        packed = pickle.dumps(fs)
        assert s3_store.secret_key.encode() not in packed
        with pickle.loads(packed).open_output_stream(path) as stream:
            stream.write(b"x")
        assert read_bytes(f"s3://{bucket}/a") == b"x"

    def test_a_timeout_that_is_none_is_said(self, monkeypatch):
        monkeypatch.setenv("LISER_S3_TIMEOUT_S", "soon")
        with pytest.raises(UserError, match="LISER_S3_TIMEOUT_S"):
            exists("s3://bucket/a")


def test_the_memory_for_a_listing_does_not_grow_with_it(no_keys):
    no_keys.setenv("AWS_ACCESS_KEY_ID", "any")
    no_keys.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with ManyKeys(2_000) as store:
        no_keys.setenv("AWS_ENDPOINT_URL", store.endpoint)
        recordings = list_recordings("s3://bucket/videos").recordings
        next(recordings)
        tracemalloc.start()
        try:
            n_left = sum(1 for _ in recordings)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert n_left == 1_999
    assert peak_bytes < 800_000  # a few pages, here and in the server; the recordings alone would be twice that

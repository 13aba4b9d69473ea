"""Credentials: from the environment alone, and never in messages, logs, tables or lists of processes."""

import logging
import os
from pathlib import Path

import pytest

from liser_ray.corpora.plan_table import plan_rows
from liser_ray.corpora.probe import Probed
from liser_ray.corpora.recordings import Recording, list_recordings
from liser_ray.labeling.schema import ending
from liser_ray.media.isolation import Sandbox
from liser_ray.media.outcome import Problem, Reason, Stage
from liser_ray.runtime.errors import UserError
from liser_ray.runtime.exits import run
from liser_ray.runtime.redaction import redact, refuse_credentials
from liser_ray.storage.addresses import absolute
from liser_ray.storage.fetch import fetch
from liser_ray.storage.files import filesystem

KEY, SECRET, TOKEN = "AKIA" + "ABCDEFGH" * 2, "wJalr/UtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY", "hf_" + "AbCd" * 9
SIGNED = f"https://b.s3.amazonaws.com/a.mp4?X-Amz-Credential={KEY}%2Feu&X-Amz-Expires=60&X-Amz-Signature=0123abcd"


def test_credentials_are_taken_out_of_texts_and_the_rest_stays(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEXAMPLE")
    for text, without in [
        (f"key {KEY}, secret {SECRET}.", "key ***, secret ***."),
        ("token IQoJb3JpZ2luX2VjEXAMPLE refused", "token *** refused"),
        (SIGNED, "https://b.s3.amazonaws.com/a.mp4?X-Amz-Credential=***&X-Amz-Expires=60&X-Amz-Signature=***"),
        (
            "at h/a?AWSAccessKeyId=abc&Signature=x%2B&Expires=1 403",
            "at h/a?AWSAccessKeyId=***&Signature=***&Expires=1 403",
        ),
        (f"at 'http://me:{SECRET[:9]}/x@store:9000/b'", "at 'http://***@store:9000/b'"),
        (f"Bearer {TOKEN}", "Bearer ***"),
    ]:
        assert redact(text) == without
    for text in ("s3://bucket/a:b@c.mp4: 404", "http://127.0.0.1:9000 is down", "a hash of 0123456789abcdef", "hf_hub"):
        assert redact(text) == text
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")  # too short for a secret
    assert redact("a test") == "a test"


@pytest.mark.parametrize(
    "address",
    [
        f"s3://{KEY}:{SECRET}@bucket/videos",
        f"s3://{SECRET[:5]}@bucket/videos",
        f"s3://me:{SECRET}/videos",
        f"s3://bucket/a.mp4?versionId=1&X-Amz-Signature={SECRET}",
        f"https://me:{SECRET}@host/a.mp4",
        f"https://host/a.mp4?X-Amz-Security-Token={SECRET}",
    ],
)
def test_an_address_with_credentials_is_refused_without_telling_them(address, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"uri\n{address}\n")
    by_manifest = lambda _: list(list_recordings(str(manifest)).recordings)  # noqa: E731
    for take in (absolute, filesystem, list_recordings, fetch, by_manifest):
        with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID") as caught:
            take(address)
        assert all(part not in str(caught.value) for part in (SECRET[:5], KEY))


def test_names_that_look_a_little_like_credentials_are_names():
    for address in ("s3://bucket/a@b:c?x=1.mp4", "/data/me:you@home?signature=1.mp4", "s3://bucket/signature=1/a.mp4"):
        assert absolute(address) == address
    assert absolute("file:///data/me@home/a.mp4") == "/data/me@home/a.mp4"
    refuse_credentials("https://cdn.example.org/owner/name@v1/w.onnx")


def test_a_stores_words_reach_no_table_with_a_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    problem = Problem(Stage.PLAN, Reason.READ_ERROR, f"{SIGNED}\nrefused {SECRET}")
    (planned,) = plan_rows(Probed(Recording("s3://b/a.mp4", 1, ""), problem=problem), 16.0)
    for text in (ending(problem)["detail"], planned[8]):
        assert text.startswith("https://b.s3.amazonaws.com/a.mp4?X-Amz-Credential=***")
        assert SECRET not in text
        assert "0123abcd" not in text


@pytest.mark.parametrize(
    ("error", "code"), [(UserError(f"no {SECRET}"), 2), (ValueError(f"no {SECRET}"), 1)], ids=["user", "bug"]
)
def test_a_job_prints_and_logs_no_secret(monkeypatch, capsys, error, code):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def main(_):
        logging.getLogger("liser_ray").warning("signed with %s", SECRET)
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main)
    written = capsys.readouterr().err
    assert caught.value.code == code
    assert "signed with ***" in written
    assert "no ***" in written
    assert SECRET not in written


def test_child_processes_have_no_secret_on_their_command_line(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with Sandbox() as sandbox:
        sandbox.call(os.getpid, timeout_s=60)
        lines = [path.read_bytes() for path in _children(os.getpid())]
    assert len(lines) >= 2
    assert not any(SECRET.encode() in line for line in lines)


def _children(pid: int) -> list[Path]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for path in found for child in path.read_text().split()]
    return [Path(f"/proc/{pid}/cmdline"), *(path for child in below for path in _children(child))]

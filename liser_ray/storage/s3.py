"""The S3 store that the environment describes, through boto3: who asks, what is there, and what is wrong, in words.

boto3 finds endpoint, region, profile, role and keys wherever AWS lets them be set; `liser_ray.storage.s3_filesystem`
tells pyarrow what it found, so that both see the same store. boto3 does what pyarrow lacks: listing page by page,
ETags, and errors that say what to do.
"""

import functools
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSOError,
    TokenRetrievalError,
)

from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import split

MAX_CONNECTIONS = 64

_BAD_KEYS = {"SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
_NOT_THERE = {"NoSuchKey", "404", "NotFound"}
_UNEXPLAINED = {"400"}  # HEAD is answered without a body: expired credentials and a wrong region look like this
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504"}
_OTHER_REGION = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}

_READ_RIGHTS = "s3:ListBucket and s3:GetObject"
_WRITE_RIGHTS = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload"

_NO_CREDENTIALS = (
    "There are no S3 credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile in AWS_PROFILE, run "
    "where there is a role, or set AWS_NO_SIGN_REQUEST=true for a public bucket."
)

_WORDS = (
    ({"NoSuchBucket"}, "the bucket does not exist. Check its name, and AWS_ENDPOINT_URL if it is not on AWS"),
    (
        {"ExpiredToken", "TokenRefreshRequired"},
        "the credentials have expired. Get new ones (aws sso login, or a new AWS_SESSION_TOKEN)",
    ),
    (
        _BAD_KEYS,
        "the store does not take these credentials. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE",
    ),
    (_DENIED, "access denied. The credentials need {rights} there"),
    (_OTHER_REGION, "the bucket is in another region. Set AWS_REGION"),
    (_BUSY, "the store is busy or out of order. Try again later"),
)

_TRIES = 3
_BROKEN_BODY = (ResponseStreamingError, IncompleteReadError, ReadTimeoutError)
"""What boto3 does not try again: an answer that begins well and breaks off."""


@dataclass(frozen=True)
class S3Connection:
    """What the environment says of the store."""

    client: BaseClient  # safe to use from threads
    impatient_client: BaseClient  # the same one for a first look: it gives up within seconds
    credentials: Credentials | None  # they renew themselves where they are a role's; None: anonymous
    endpoint: str | None  # None on AWS
    region: str  # of the bucket, as far as the environment knows it
    ca_bundle: str  # file of the certificates to trust, "" for the system's
    timeout_s: float  # how long a request may be silent before it is tried again


def connection() -> S3Connection:
    """The connection of this process; the same one while the environment stays.

    Raises:
        UserError: an unknown profile, no credentials, or a setting that can't be read.
    """
    names = sorted(name for name in os.environ if name.startswith(("AWS_", "LISER_S3_")))
    return _connection(tuple((name, os.environ[name]) for name in names))


@functools.lru_cache(maxsize=4)
def _connection(environment: tuple[tuple[str, str], ...]) -> S3Connection:
    settings = dict(environment)
    anonymous = settings.get("AWS_NO_SIGN_REQUEST", "").lower() in {"1", "true", "yes"}
    timeout_s = _timeout_s(settings.get("LISER_S3_TIMEOUT_S") or "10")
    try:
        core = botocore.session.get_session()
        session = boto3.Session(botocore_session=core)

        def client(attempts: int, connect_timeout_s: float) -> BaseClient:
            config = Config(
                signature_version=UNSIGNED if anonymous else None,
                max_pool_connections=MAX_CONNECTIONS,
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=connect_timeout_s,
                read_timeout=timeout_s,
            )
            # boto3 itself reads AWS_DEFAULT_REGION only.
            return session.client("s3", region_name=settings.get("AWS_REGION"), config=config)

        patient, impatient = client(attempts=8, connect_timeout_s=10), client(attempts=3, connect_timeout_s=3)
        credentials = None if anonymous else session.get_credentials()
        ca_bundle = core.get_config_variable("ca_bundle") or ""
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"The S3 settings can't be used: {error}. Look at AWS_PROFILE and the other AWS_…") from error
    if credentials is None and not anonymous:
        raise UserError(_NO_CREDENTIALS)
    region, endpoint = patient.meta.region_name, patient.meta.endpoint_url
    on_aws = endpoint in {"https://s3.amazonaws.com", f"https://s3.{region}.amazonaws.com"}
    return S3Connection(
        client=patient,
        impatient_client=impatient,
        credentials=credentials,
        endpoint=None if on_aws else endpoint,
        region="us-east-1" if region in (None, "aws-global") else region,
        ca_bundle=ca_bundle,
        timeout_s=timeout_s,
    )


def _timeout_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < float("inf"):
        raise UserError(f"LISER_S3_TIMEOUT_S is {text!r}: give seconds, 1 or more.")
    return seconds


def list_objects(bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """boto3's records (``Key``, ``Size``, ``ETag``) of the objects below a prefix, in key order, one page in memory.

    Raises:
        UserError: if the bucket does not exist, access is denied, or there are no or wrong credentials.
    """
    pages = connection().client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with _user_errors(f"s3://{bucket}/{prefix}"):
        for page in pages:
            yield from page.get("Contents", ())


def stat(uri: str) -> tuple[int, str]:
    """Size in bytes and ETag of an object.

    Raises:
        FileNotFoundError, PermissionError, OSError: it is not there for us.
        UserError: if there are no credentials at all.
    """
    bucket, key = split(uri)
    try:
        found = connection().client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # A HEAD request is answered without a body: the HTTP status is all there is. S3 answers 403 for a missing
        # object as well, to whoever may not list the bucket.
        if _code(error) in _NOT_THERE:
            raise FileNotFoundError(str(error)) from error
        raise (PermissionError if _code(error) in _DENIED | _BAD_KEYS else OSError)(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
    return int(found["ContentLength"]), etag(found)


def etag(record: dict[str, Any]) -> str:
    """The ETag of a boto3 record, without its quotes."""
    return str(record["ETag"]).strip('"')


def try_reading(uri: str) -> None:
    """Find one object at or below the address, and read a byte of it.

    Raises:
        UserError: why that can't be done, within seconds; an address where nothing lies is left to others.
    """
    client = connection().impatient_client
    bucket, key = split(uri)
    with _user_errors(uri):
        size_bytes = None
        if key:
            try:
                size_bytes = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
            except ClientError as error:
                # A refused HEAD has no body that says why: the listing that follows gets the store's own words.
                if _code(error) not in _NOT_THERE | _DENIED | _UNEXPLAINED:
                    raise
        if size_bytes is None:
            found = client.list_objects_v2(Bucket=bucket, Prefix=key and f"{key}/", MaxKeys=1).get("Contents", ())
            for one in found:
                key, size_bytes = one["Key"], one["Size"]
        for tries_left in reversed(range(_TRIES if size_bytes else 0)):
            try:
                client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].read()
                break
            except _BROKEN_BODY:
                if not tries_left:
                    raise


def try_writing(uri: str) -> None:
    """Write an empty object, list it and delete it.

    Raises:
        UserError: why that can't be done, within seconds.
    """
    client = connection().impatient_client
    bucket, key = split(uri)
    with _user_errors(posixpath.dirname(uri), _WRITE_RIGHTS):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
        client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        client.delete_object(Bucket=bucket, Key=key)


def _code(error: ClientError) -> str:
    """S3's code, or the HTTP status where the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _user_errors(uri: str, rights: str = _READ_RIGHTS) -> Iterator[None]:
    """Turn boto3's errors about an address into `UserError`: what is wrong, and what to do."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserError(f"{uri}: {_NO_CREDENTIALS}") from error
    except ClientError as error:
        words = next((words for codes, words in _WORDS if _code(error) in codes), "the store refused the request")
        raise UserError(f"{uri}: {words.format(rights=rights)} (the store says: {error})") from error
    except (CredentialRetrievalError, TokenRetrievalError, SSOError) as error:
        raise UserError(f"{uri}: the credentials can't be renewed: {error}. Log in anew (aws sso login).") from error
    except BotoCoreError as error:
        raise UserError(f"{uri}: can't reach the store: {error}. See AWS_ENDPOINT_URL and AWS_REGION.") from error

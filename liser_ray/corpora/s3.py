"""What pyarrow's S3 file system lacks: listing page by page, ETags, and errors that say what is wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from liser_ray.errors import UserError
from liser_ray.outcome import MediaError, Reason

MAX_CONNECTIONS = 64

_BAD_KEYS = {"SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
_NOT_THERE = {"NoSuchKey", "404", "NotFound"}


@cache
def client() -> BaseClient:
    """This process's boto3 client, set up by the environment as `liser_ray.storage` is; safe to use from threads."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # boto3 itself reads AWS_DEFAULT_REGION only.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    config = Config(
        max_pool_connections=MAX_CONNECTIONS,
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
    )
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in {"1", "true", "yes"}:
        config = config.merge(Config(signature_version=UNSIGNED))
    return boto3.Session().client(
        "s3", endpoint_url=endpoint, region_name=region or ("us-east-1" if endpoint else None), config=config
    )


def split(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix, "" for none) of an ``s3://`` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def list_objects(bucket: str, prefix: str, page_size: int = 1000) -> Iterator[dict[str, Any]]:
    """boto3's records (``Key``, ``Size``, ``ETag``) of the objects below a prefix, in key order, one page in memory.

    Raises:
        UserError: if the bucket does not exist, access is denied, or there are no or wrong credentials.
    """
    pages = (
        client()
        .get_paginator("list_objects_v2")
        .paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": page_size})
    )
    with _user_errors(f"s3://{bucket}/{prefix}"):
        for page in pages:
            yield from page.get("Contents", ())


def head(uri: str) -> tuple[int, str] | None:
    """Size in bytes and ETag of an object that the user named; None if it is not there for us.

    Raises:
        UserError: if the store can't be reached or there are no credentials.
    """
    bucket, key = split(uri)
    with _user_errors(uri):
        try:
            found = client().head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            # A refused HEAD has no body that says why: the listing that follows gets the store's own words.
            if _code(error) in _NOT_THERE | _DENIED:
                return None
            raise
    return int(found["ContentLength"]), etag(found)


def stat(uri: str) -> tuple[int, str]:
    """Size in bytes and ETag of an object that a manifest names.

    Raises:
        MediaError: MISSING, DENIED or READ_ERROR: it costs the row, not the job.
        UserError: if there are no credentials at all.
    """
    bucket, key = split(uri)
    try:
        found = client().head_object(Bucket=bucket, Key=key)
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserError(_NO_CREDENTIALS.format(uri=uri)) from error
    except ClientError as error:
        # A HEAD request is answered without a body: the HTTP status is all there is.
        reason = Reason.MISSING if _code(error) in _NOT_THERE else Reason.READ_ERROR
        if _code(error) in _DENIED | _BAD_KEYS:
            # S3 answers so for a missing object as well, to whoever may not list the bucket.
            reason = Reason.DENIED
        raise MediaError(reason, str(error)) from error
    except BotoCoreError as error:
        raise MediaError(Reason.READ_ERROR, str(error)) from error
    return int(found["ContentLength"]), etag(found)


def etag(record: dict[str, Any]) -> str:
    """The ETag of a boto3 record, without its quotes."""
    return str(record["ETag"]).strip('"')


_NO_CREDENTIALS = (
    "{uri}: no S3 credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile in AWS_PROFILE, "
    "or AWS_NO_SIGN_REQUEST=true for a public bucket."
)


@contextmanager
def _user_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserError(_NO_CREDENTIALS.format(uri=uri)) from error
    except ClientError as error:
        raise UserError(f"{uri}: {_explain(_code(error))} (the store says: {error})") from error
    except BotoCoreError as error:
        raise UserError(f"{uri}: can't reach the store: {error}. See AWS_ENDPOINT_URL and AWS_REGION.") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _explain(code: str) -> str:
    if code == "NoSuchBucket":
        return "the bucket does not exist. Check its name, and AWS_ENDPOINT_URL if it is not on AWS"
    if code in _BAD_KEYS:
        return "the store does not take these credentials. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE"
    if code in _DENIED:
        return "access denied. The credentials need s3:ListBucket and s3:GetObject there"
    if code in {"PermanentRedirect", "301", "AuthorizationHeaderMalformed"}:
        return "the bucket is in another region. Set AWS_REGION"
    return "the store refused the request"

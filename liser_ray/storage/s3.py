"""What pyarrow's S3 file system lacks: listing page by page, and ETags."""

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from liser_ray.media.outcome import MediaError, Reason
from liser_ray.storage.s3_connection import (
    BAD_KEYS,
    DENIED,
    MAX_CONNECTIONS,
    NOT_THERE,
    UNEXPLAINED,
    connection,
    error_code,
    split,
    user_errors,
)

__all__ = ["MAX_CONNECTIONS", "etag", "head", "list_objects", "split", "stat"]


def list_objects(bucket: str, prefix: str, page_size: int = 1000) -> Iterator[dict[str, Any]]:
    """boto3's records (``Key``, ``Size``, ``ETag``) of the objects below a prefix, in key order, one page in memory.

    Raises:
        UserError: if the bucket does not exist, access is denied, or there are no or wrong credentials.
    """
    pages = (
        connection()
        .client.get_paginator("list_objects_v2")
        .paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": page_size})
    )
    with user_errors(f"s3://{bucket}/{prefix}"):
        for page in pages:
            yield from page.get("Contents", ())


def head(uri: str) -> tuple[int, str] | None:
    """Size in bytes and ETag of an object that the user named; None if it is not there for us.

    Raises:
        UserError: if the store can't be reached or there are no credentials.
    """
    bucket, key = split(uri)
    with user_errors(uri):
        try:
            found = connection().client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            # A refused HEAD has no body that says why: the listing that follows gets the store's own words.
            if error_code(error) in NOT_THERE | DENIED | UNEXPLAINED:
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
        found = connection().client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # A HEAD request is answered without a body: the HTTP status is all there is.
        reason = Reason.MISSING if error_code(error) in NOT_THERE else Reason.READ_ERROR
        if error_code(error) in DENIED | BAD_KEYS:
            # S3 answers so for a missing object as well, to whoever may not list the bucket.
            reason = Reason.DENIED
        raise MediaError(reason, str(error)) from error
    except BotoCoreError as error:
        raise MediaError(Reason.READ_ERROR, str(error)) from error
    return int(found["ContentLength"]), etag(found)


def etag(record: dict[str, Any]) -> str:
    """The ETag of a boto3 record, without its quotes."""
    return str(record["ETag"]).strip('"')

"""A first look at an S3 store, before any work: what is wrong is said within seconds, in words."""

import posixpath

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from liser_ray.runtime.errors import UserError
from liser_ray.storage.s3_connection import (
    DENIED,
    NOT_THERE,
    UNEXPLAINED,
    WRITE_RIGHTS,
    connection,
    error_code,
    split,
    user_errors,
)
from liser_ray.storage.s3_filesystem import s3_filesystem

_TRIES = 3
_BROKEN_BODY = (ResponseStreamingError, IncompleteReadError, ReadTimeoutError)
"""What boto3 does not try again: an answer that begins well and breaks off."""


def try_reading(uri: str) -> None:
    """Find one object at or below the address, and read a byte of it.

    Raises:
        UserError: why that can't be done; an address where nothing lies is left to others.
    """
    client = connection().impatient_client
    bucket, key = split(uri)
    with user_errors(uri):
        size_bytes = None
        if key:
            try:
                size_bytes = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if error_code(error) not in NOT_THERE | DENIED | UNEXPLAINED:
                    raise
        if size_bytes is None:
            found = client.list_objects_v2(Bucket=bucket, Prefix=key and f"{key}/", MaxKeys=1).get("Contents", ())
            for one in found:
                key, size_bytes = one["Key"], one["Size"]
        if size_bytes:
            for tries_left in reversed(range(_TRIES)):
                try:
                    client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].read()
                    break
                except _BROKEN_BODY:
                    if not tries_left:
                        raise
    _look_through_pyarrow(uri)


def try_writing(uri: str) -> None:
    """Write an empty object, list it and delete it.

    Raises:
        UserError: why that can't be done.
    """
    client = connection().impatient_client
    bucket, key = split(uri)
    with user_errors(posixpath.dirname(uri), WRITE_RIGHTS):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
        client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        client.delete_object(Bucket=bucket, Key=key)
    _look_through_pyarrow(posixpath.dirname(uri))


def _look_through_pyarrow(uri: str) -> None:
    """boto3 follows a bucket into its region by itself; pyarrow has to be told."""
    try:
        s3_filesystem().get_file_info(uri.removeprefix("s3://"))
    except OSError as error:
        raise UserError(
            f"{uri}: boto3 can reach it, pyarrow can't: {error}. Set AWS_REGION to the bucket's region."
        ) from error

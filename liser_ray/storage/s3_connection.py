"""The S3 store that the environment describes: read once, for boto3 and for pyarrow, so that both see the same store.

boto3 finds endpoint, region, profile, role and keys, wherever AWS lets them be set; pyarrow is told what it found.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from liser_ray.runtime.errors import UserError

MAX_CONNECTIONS = 64

BAD_KEYS = {"SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
NOT_THERE = {"NoSuchKey", "404", "NotFound"}
UNEXPLAINED = {"400"}  # HEAD is answered without a body: expired credentials and a wrong region look like this
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504"}
_OTHER_REGION = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}

_READ_RIGHTS = "s3:ListBucket and s3:GetObject"
WRITE_RIGHTS = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload"


@dataclass(frozen=True)
class S3Connection:
    """What the environment says of the store.

    Attributes:
        client: of boto3; safe to use from threads.
        impatient_client: the same one for a first look: it gives up within seconds.
        credentials: they renew themselves where they are a role's; None: anonymous.
        endpoint: None on AWS.
        region: of the bucket, as far as the environment knows it.
        ca_bundle: file of the certificates to trust, "" for the system's.
        timeout_s: how long a request may be silent before it is tried again.
    """

    client: BaseClient
    impatient_client: BaseClient
    credentials: Credentials | None
    endpoint: str | None
    region: str
    ca_bundle: str
    timeout_s: float


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

        patient = client(attempts=8, connect_timeout_s=10)
        credentials = None if anonymous else session.get_credentials()
        ca_bundle = core.get_config_variable("ca_bundle") or ""
        impatient = client(attempts=3, connect_timeout_s=3)
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


def split(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix, "" for none) of an ``s3://`` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def error_code(error: ClientError) -> str:
    """S3's code, or the HTTP status where the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


_NO_CREDENTIALS = (
    "There are no S3 credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile in AWS_PROFILE, run "
    "where there is a role, or set AWS_NO_SIGN_REQUEST=true for a public bucket."
)


@contextmanager
def user_errors(uri: str, rights: str = _READ_RIGHTS) -> Iterator[None]:
    """Turn boto3's errors into `UserError`: what is wrong, and what to do.

    Args:
        uri: what the requests are about.
        rights: what they need.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserError(f"{uri}: {_NO_CREDENTIALS}") from error
    except ClientError as error:
        raise UserError(f"{uri}: {_explain(error_code(error), rights)} (the store says: {error})") from error
    except BotoCoreError as error:
        raise UserError(f"{uri}: can't reach the store: {error}. See AWS_ENDPOINT_URL and AWS_REGION.") from error


def _explain(code: str, rights: str) -> str:
    if code == "NoSuchBucket":
        return "the bucket does not exist. Check its name, and AWS_ENDPOINT_URL if it is not on AWS"
    if code in {"ExpiredToken", "TokenRefreshRequired"}:
        return "the credentials have expired. Get new ones (aws sso login, or a new AWS_SESSION_TOKEN)"
    if code in BAD_KEYS:
        return "the store does not take these credentials. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE"
    if code in DENIED:
        return f"access denied. The credentials need {rights} there"
    if code in _OTHER_REGION:
        return "the bucket is in another region. Set AWS_REGION"
    if code in _BUSY:
        return "the store is busy or out of order. Try again later"
    return "the store refused the request"

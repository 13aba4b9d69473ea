"""Credentials kept out of what people read: messages, logs, tables."""

import logging
import os
import re

from liser_ray.runtime.errors import UserError

_SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "RAY_AUTH_TOKEN",
)
_MIN_SECRET_CHARS = 8  # a shorter one would be a word of the text as often as a secret

_STANDS_FOR_IT = "***"

_PRESIGNED = re.compile(
    r"(?i)(?<=[?&;])((?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature)=)[^&;\s\"'<>]*"
)
_PATTERNS = (
    re.compile(r"(?<=://)[^/\s@:]*:[^\s@]*(?=@)"),  # user:password of an address; a secret may hold slashes
    re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"),
    re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}"),
)


def redact(text: str) -> str:
    """The text with ``***`` in place of credentials.

    These are: a user and password in an address, AWS key ids, what a presigned query holds, Hugging Face tokens, and
    the values of the variables that hold credentials in this process's environment.
    """
    for name in _SECRET_VARIABLES:
        secret = os.environ.get(name, "")
        if len(secret) >= _MIN_SECRET_CHARS:
            text = text.replace(secret, _STANDS_FOR_IT)
    for pattern in _PATTERNS:
        text = pattern.sub(_STANDS_FOR_IT, text)
    return _PRESIGNED.sub(rf"\1{_STANDS_FOR_IT}", text)


def refuse_credentials(uri: str) -> None:
    """Raise a `UserError` that does not tell them if an address carries a user, a password, a key or a signature.

    No bucket's name has an ``@`` or a colon; the keys of objects may, and are not looked at.
    """
    scheme, _, rest = uri.partition("://")
    host = rest.partition("/")[0]
    in_front = "@" in host or (":" in host and (scheme == "s3" or "@" in rest))
    if in_front or (rest and _PRESIGNED.search(uri)):
        raise UserError(
            f"An address {scheme}://... carries credentials, which would end up in files and in lists of processes. "
            "Give it without them, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )


class RedactingFormatter(logging.Formatter):
    """Log lines, with their tracebacks, without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return redact(super().format(record))

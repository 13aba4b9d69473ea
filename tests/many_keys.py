"""An S3 store that lists as many keys as wanted and has none of them: pages of a listing, made up when asked for."""

from urllib.parse import parse_qs, urlsplit

from local_http import LocalServer, QuietHandler

_KEY = (
    "<Contents><Key>videos/{:09d}.mp4</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1000000</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class ManyKeys(LocalServer):
    """A running store with ``videos/000000000.mp4`` and so on in every bucket, listed by 50.

    Attributes:
        signed: for each request so far, whether it was signed.
    """

    def __init__(self, n_keys: int):
        self.n_keys = n_keys
        self.signed: list[bool] = []
        super().__init__(_Handler)


class _Handler(QuietHandler):
    owner: ManyKeys

    def serve(self) -> None:
        self.owner.signed.append("Authorization" in self.headers)
        if self.command == "HEAD":
            self.answer(404)
            return
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        start = int(asked.get("continuation-token", 0))
        end = min(self.owner.n_keys, start + min(50, int(asked.get("max-keys", 50))))
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self.owner.n_keys else ""
        listed = (
            f"<ListBucketResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}"
            f"{''.join(map(_KEY.format, range(start, end)))}</ListBucketResult>"
        )
        self.answer(200, listed.encode(), "application/xml")

"""Files that ask whoever opens them to open something else: `from attack_files import write_attacks, Listener`."""

import struct
from pathlib import Path

from local_http import LocalServer, QuietHandler

_MOV_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"dinf"}


class Listener(LocalServer):
    """Gives one file to whoever asks, and remembers what was asked for."""

    def __init__(self, file: Path):
        self.file = file
        self.asked: list[str] = []
        super().__init__(_Handler)


class _Handler(QuietHandler):
    def serve(self) -> None:
        self.owner.asked.append(self.path)
        self.answer(200, self.owner.file.read_bytes())


def write_attacks(folder: Path, secret: Path, host: str) -> dict[str, Path]:
    """Files that name a secret recording (a folder with ``a.ts``, ``a.mp4``, ``a.mov``) or a host (``http://``)."""
    port = host.rpartition(":")[2]
    texts = {
        "file.m3u8": _hls(f"file://{secret}/a.ts"),
        "path.m3u8": _hls(f"{secret}/a.ts"),
        "http.m3u8": _hls(f"{host}/a.ts"),
        "key.m3u8": _hls(f"{secret}/a.ts", f'#EXT-X-KEY:METHOD=AES-128,URI="{host}/key"'),
        "concat.m3u8": _hls(f"concat:{secret}/a.ts|{secret}/a.ts"),
        "subfile.m3u8": _hls(f"subfile,,start,0,end,9999,,:{secret}/a.ts"),
        "master.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{host}/a.m3u8\n",
        "path.ffconcat": f"ffconcat version 1.0\nfile '{secret}/a.mp4'\n",
        "here.ffconcat": "ffconcat version 1.0\nfile a.mp4\n",
        "http.ffconcat": f"ffconcat version 1.0\nfile '{host}/a.mp4'\n",
        "file.mpd": _dash(f"file://{secret}/a.mp4"),
        "http.mpd": _dash(f"{host}/a.mp4"),
        "rtp.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "http.asx": f'<asx version="3.0"><entry><ref href="{host}/a.mp4"/></entry></asx>',
        "image%03d.jpg": f"{secret}/a%03d.jpg",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "dref.mov").write_bytes(_with_data_reference((secret / "a.mov").read_bytes(), "/a.mov"))
    return {name: folder / name for name in [*texts, "dref.mov"]}


def _hls(segment: str, key: str = "#") -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{key}\n#EXTINF:1.0,\n{segment}\n#EXT-X-ENDLIST\n"


def _dash(media: str) -> str:
    return (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000" codecs="avc1.64000a">'
        f"<BaseURL>{media}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


def _with_data_reference(mov: bytes, path: str) -> bytes:
    """The movie with its tracks' data said to lie in another file: a Macintosh alias in each ``dref`` box."""
    parts = []
    while mov:
        size, kind = struct.unpack(">I4s", mov[:8])
        body = mov[8:size]
        if kind in _MOV_BOXES:
            body = _with_data_reference(body, path)
        elif kind == b"dref":
            body = struct.pack(">II", 0, 1) + _alias(path)
        parts.append(struct.pack(">I4s", len(body) + 8, kind) + body)
        mov = mov[size:]
    return b"".join(parts)


def _alias(path: str) -> bytes:
    name = path.rpartition("/")[2].encode()
    target = path.replace("/", ":").encode()
    target += bytes(len(target) % 2)
    record = bytes(10) + bytes([4]) + b"Disk".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    record += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(target)) + target + struct.pack(">hH", -1, 0)
    return struct.pack(">I4sI", len(record) + 12, b"alis", 0) + record

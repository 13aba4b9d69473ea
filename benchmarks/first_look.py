"""What the detector's first look at a small picture changes: boxes, their noise and the time, on real videos.

Run with the real recordings (LISER_TEST_DATA) and YuNet's weights (DEEPFACE_HOME, by default weights/ beside them):
`python benchmarks/first_look.py`. Prints the table and writes it to benchmarks/results/first_look.md.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries below are imported

import numpy as np
from machine import RESULTS, describe, find_weights, videos, write_whole

from liser_ray.media import detector
from liser_ray.media.detector import Face, FaceDetector, check_detector
from liser_ray.media.frame import SampledFrame
from liser_ray.media.reader import Reader

PICTURES = 45  # in a row, from the start of each video


@dataclass
class Looks:
    """What one way finds: the widest face of each picture, one list per video; and CPU seconds."""

    found: list[list[Face | None]] = field(default_factory=list)
    spent_s: float = 0.0

    def look(self, frames: Sequence[SampledFrame], first_side_px: float) -> None:
        detector._FIRST_SIDE_PX = first_side_px
        find = FaceDetector("yunet")
        start = time.process_time()
        self.found.append([next(iter(find(frame)), None) for frame in frames])
        self.spent_s += time.process_time() - start

    def faces(self) -> list[Face | None]:
        return list(chain.from_iterable(self.found))

    def noise(self) -> np.ndarray:
        """Standard deviation of a detection from a face that moves evenly: x, y, width, height in % of the width."""
        parts = []
        for faces in self.found:
            if all(faces):
                boxes = np.array([(*one.center, one.width, one.height) for one in faces if one])
                parts.append(np.square(np.diff(boxes, 2, axis=0) / boxes[1:-1, 2:3]).mean(axis=0) / 6)
        return 100 * np.sqrt(np.mean(parts, axis=0))


def measure(paths: Sequence[Path]) -> tuple[Looks, Looks, int]:
    """The detector as it is and with the full look alone, by turns; and pictures."""
    small, full, n_pictures = Looks(), Looks(), 0
    first_side_px = detector._FIRST_SIDE_PX
    for path in paths:
        with Reader(str(path)) as reader:
            for _ in range(2):  # decoded anew for each, so that none is kept warm by the other
                for looks, side_px in ((full, np.inf), (small, first_side_px)):
                    looks.look(list(islice(reader.span(0.0, PICTURES / 22), PICTURES)), side_px)
            n_pictures += 2 * len(full.found[-1])
    return small, full, n_pictures


def line(title: str, paths: Sequence[Path]) -> str:
    small, full, n_pictures = measure(paths)
    changes, n_lost = [], 0
    for a, b in zip(full.faces(), small.faces(), strict=True):
        if a and b:
            moved = np.abs(np.subtract(a.center, b.center)).max()
            changes.append(np.array([moved, abs(a.width - b.width), abs(a.height - b.height)]) / a.width)
        n_lost += (a is None) != (b is None)
    mean, p99 = 100 * np.mean(changes, axis=0), 100 * np.quantile(changes, 0.99, axis=0)
    cells = [
        title,
        f"{n_pictures // 2}",
        *(f"{a:.1f} / {b:.1f}" for a, b in zip(mean, p99, strict=True)),
        f"{full.noise().mean():.2f} / {small.noise().mean():.2f}" if all(full.faces()) else "–",
        f"{n_lost // 2}",
        f"{1000 * full.spent_s / n_pictures:.1f} / {1000 * small.spent_s / n_pictures:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    find_weights()
    check_detector("yunet")
    lines = []
    for folder, title in (("talking_heads", "talking heads"), ("hard_videos", "hard videos")):
        lines.append(line(title, videos(folder)))
    where = describe(("onnxruntime", "av"), "one of them used")
    text = f"""# A first look at a small picture

Made by `python benchmarks/first_look.py`: YuNet on the first {PICTURES} pictures of each video, the widest face; first
in a picture of as many pixels as {detector._FIRST_SIDE_PX} x {detector._FIRST_SIDE_PX}, which suffices where that face
is {detector._WIDE_PX} pixels wide in it, against a picture of {detector.DETECT_LONG_SIDE_PX} pixels on the longer side
at once.

| videos | pictures | centre moved, % of face width: mean / p99 | width | height | noise, %: full / first look | \
found by one alone | CPU ms per picture: full / first look |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(lines)}

Noise is how far a detection lies from where a face that moves evenly would be, in the mean over x, y, width and height:
boxes are as steady in the small picture. What moves them is that the network draws them a little differently at another
scale, the same way in each picture of a video; none of the two is the truth.

Machine: {where}
"""
    print(text)
    write_whole(RESULTS / "first_look.md", text)


if __name__ == "__main__":
    main()

"""How far apart may face detections be? Interpolated boxes against a detection in every picture, on real videos.

Run with the real recordings (LISER_TEST_DATA) and YuNet's weights (DEEPFACE_HOME, by default weights/ beside them):
`python benchmarks/detect_every.py`. Prints the tables and writes them to benchmarks/results/detect_every.md.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from machine import RESULTS, find_weights, markdown, videos, write_whole
from teacher_speed import video_networks

from liser_ray.media import clips, cuts, faces, track
from liser_ray.media.detector import Face, FaceDetector, check_detector
from liser_ray.media.faces import FaceConfig
from liser_ray.media.reader import Reader
from liser_ray.media.span import MediaConfig, Needs, prepare_span
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.teachers.s2d import S2DConfig
from liser_ray.teachers.s2d_teacher import FERV39K_LABELS, s2d_teacher

EVERY = (1, 2, 3, 4, 5, 6, 8, 10, 15)
SPAN_S = 16.0
_WINDOW = 1  # which window of a video S2D is asked about


@dataclass(frozen=True)
class Seen:
    """What is needed of a picture to track its faces again and again without decoding it again."""

    first_cell: int
    n_cells: int
    size: tuple[int, int]
    tiny: np.ndarray
    faces: tuple[Face, ...]

    def gray(self, width: int, height: int) -> np.ndarray:
        assert self.tiny.shape == (height, width)
        return self.tiny


@dataclass
class Cost:
    """Milliseconds spent on a number of pictures and seconds of video."""

    pictures: int = 0
    video_s: float = 0.0
    decode_ms: float = 0.0
    tiny_ms: float = 0.0
    detect_ms: float = 0.0
    crop_ms: float = 0.0


def see(path: Path, detector: FaceDetector, cost: Cost) -> list[Seen]:
    """Decodes the first span and detects in every picture of it, noting what each step costs."""
    seen = []
    with Reader(str(path)) as reader:
        end_s = min(SPAN_S, reader.header.duration_s or SPAN_S)
        span = reader.span(0.0, end_s)
        cost.video_s += span.n_cells / 30
        times = [time.process_time()]
        for frame in span:
            times.append(time.process_time())
            tiny = frame.gray(cuts.TINY_PX, cuts.TINY_PX)
            times.append(time.process_time())
            found = detector(frame)
            times.append(time.process_time())
            if found:
                clips.crop_face(frame, found[0], faces.FaceConfig().margin)
            times.append(time.process_time())
            steps_ms = 1000 * np.diff(times)
            cost.pictures += 1
            cost.decode_ms += steps_ms[0]
            cost.tiny_ms += steps_ms[1]
            cost.detect_ms += steps_ms[2]
            cost.crop_ms += steps_ms[3]
            seen.append(Seen(frame.first_cell, frame.n_cells, frame.size, tiny, found))
            times = [time.process_time()]
    return seen


def faces_at(seen: list[Seen], every: int) -> tuple[list[list[Face]], int]:
    """The faces of each picture at one `detect_every`, the widest first, and how many pictures were detected."""
    asked = 0

    def detect(picture: Seen) -> tuple[Face, ...]:
        nonlocal asked
        asked += 1
        return picture.faces

    pictures = faces.tracked(seen, detect, every, track.Tracker())  # type: ignore[arg-type]
    return [sorted((f for _, f in p.faces), key=lambda f: -f.width) for p in pictures], asked


def iou(a: Face, b: Face) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    common = max(0.0, width) * max(0.0, height)
    return common / (a.width * a.height + b.width * b.height - common)


def angle_deg(face: Face) -> float:
    (x0, y0), (x1, y1) = face.eyes or ((0, 0), (1, 0))
    return float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))


def rows(seen: list[list[Seen]], cost: Cost) -> Iterator[list[str]]:
    """The table's lines: one per `detect_every`."""
    references = [faces_at(one, 1)[0] for one in seen]
    n_pictures = sum(map(len, seen))
    other_ms = (cost.decode_ms + cost.tiny_ms + cost.crop_ms) / cost.pictures
    for every in EVERY:
        asked, lost, n_with_face = 0, 0, 0
        errors = []
        for one, reference in zip(seen, references, strict=True):
            found, n = faces_at(one, every)
            asked += n
            for true, guess in zip(reference, found, strict=True):
                if not true:
                    continue
                n_with_face += 1
                a, b = true[0], max(guess, key=lambda f: iou(true[0], f), default=None)
                if b is None or iou(a, b) == 0:
                    lost += 1
                else:
                    center = np.hypot(a.center[0] - b.center[0], a.center[1] - b.center[1]) / a.width
                    turn = abs(angle_deg(a) - angle_deg(b))
                    errors.append((iou(a, b), center, abs(a.width - b.width) / a.width, turn))
        mean = np.mean(errors, axis=0)
        p99 = np.quantile(errors, 0.99, axis=0)
        detect_ms = cost.detect_ms / cost.pictures * asked / n_pictures
        yield [
            f"{every}",
            f"{asked / n_pictures:.2f}",
            f"{mean[0]:.3f}",
            f"{100 * mean[1]:.2f} / {100 * p99[1]:.1f}",
            f"{100 * mean[2]:.2f} / {100 * p99[2]:.1f}",
            f"{mean[3]:.2f} / {p99[3]:.1f}",
            f"{100 * lost / n_with_face:.2f}",
            f"{100 * detect_ms / (detect_ms + other_ms):.0f}",
        ]


def report(title: str, seen: list[list[Seen]], cost: Cost) -> str:
    head = [
        "detect_every",
        "detected pictures",
        "mean IoU",
        "centre error, % of face width: mean / p99",
        "width error, %: mean / p99",
        "angle error, °: mean / p99",
        "face lost, % of pictures with one",
        "detection's share of the time, %",
    ]
    per_s = {name: getattr(cost, f"{name}_ms") / cost.video_s for name in ("decode", "tiny", "detect", "crop")}
    return "\n".join(
        [
            f"## {title}: {len(seen)} videos, {sum(map(len, seen))} pictures, {cost.video_s:.0f} s",
            "",
            markdown(head, rows(seen, cost), len(head)),
            "",
            "One thread, milliseconds of CPU time per second of video: "
            f"decode {per_s['decode']:.0f}, cut detection {per_s['tiny']:.0f}, crop {per_s['crop']:.0f}, "
            f"detection in every picture {per_s['detect']:.0f}.",
            "",
        ]
    )


def softmax_change(paths: Sequence[Path]) -> str:
    """What S2D makes of the difference: a window of each video, cut by interpolated boxes and by every picture's."""
    default, every = FaceConfig(), replace(FaceConfig(), detect_every=1)
    pairs = []
    for path in paths:
        end_s = (_WINDOW + 1) * clips.WINDOW_CELLS / FRAME_RATE_HZ
        both = [prepare_span(str(path), 0.0, end_s, MediaConfig(faces=how), Needs()) for how in (default, every)]
        if all(media.problem is None and media.clip_valid[_WINDOW] > 0 for media in both):
            pairs.append(np.stack([media.clips[_WINDOW] for media in both]))
    teacher = s2d_teacher("s2d", *video_networks(S2DConfig()), FERV39K_LABELS, "", torch.device("cpu"), "float32", 1)
    softmaxes = np.stack([teacher(pair)["s2d"].values for pair in pairs])
    change = np.abs(softmaxes[:, 0] - softmaxes[:, 1])
    same = (softmaxes[:, 0].argmax(axis=1) == softmaxes[:, 1].argmax(axis=1)).mean()
    grey = np.abs(np.diff(np.stack(pairs)[..., : clips.CROP_PX, :].astype(int), axis=1)).mean()
    return f"""## What S2D makes of it: {len(pairs)} talking heads, a window of each

S2D in full size with the weights of the parity figures (its outputs mean nothing, but move as a trained network's do),
float32, on clips cut by interpolated boxes (every {default.detect_every}th picture) and by those of every picture:
a probability changes by {change.mean():.4f} in the mean and {change.max():.3f} at most, and the largest one is the
same in {same:.0%} of the windows. The clips differ by {grey:.1f} of 255 grey levels in the mean.
"""


def main() -> None:
    find_weights()
    check_detector("yunet")
    detector = FaceDetector("yunet")
    parts = [
        "# Detecting faces in every n-th picture",
        "",
        "Made by `python benchmarks/detect_every.py`: YuNet, the first 16 s of each video, the largest face of each",
        "picture against a detection in every picture. Where a face moved more than 0.1 of its width between two",
        "detections, came or went, pictures between are detected, too; hence more detected pictures than 1/n. The",
        "detector's own jitter is in these figures: it is most of what is left at n = 2.",
        "",
    ]
    for folder, title in (("talking_heads", "Talking heads"), ("hard_videos", "Hard videos")):
        cost = Cost()
        paths = videos(folder)
        parts.append(report(title, [see(path, detector, cost) for path in paths], cost))
        if folder == "talking_heads":
            heads = paths
    parts.append(softmax_change(heads))
    text = "\n".join(parts)
    print(text)
    write_whole(RESULTS / "detect_every.md", text)


if __name__ == "__main__":
    main()

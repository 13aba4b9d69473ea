"""Does mouth motion go together with the sound? Talking heads with their own sound and with one another's.

Run with the real recordings (LISER_TEST_DATA) and YuNet's weights (DEEPFACE_HOME, by default weights/ beside them):
`python benchmarks/speaks.py --landmarks mobilefacenet_model_best.pth.tar`. Prints the tables of
benchmarks/results/speaks.md, where the design is. Landmarks are kept in --cache: they take most of the time.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from machine import DATA, find_weights, markdown, videos
from scipy.ndimage import uniform_filter1d
from sklearn.metrics import roc_auc_score

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.flac import decode_flac
from liser_ray.media.reader import Reader
from liser_ray.media.span import MediaConfig, Needs, prepare_span
from liser_ray.media.speech import speech_shares, speech_stretches
from liser_ray.media.timeline import FRAME_RATE_HZ
from liser_ray.teachers.batches import as_rgb
from liser_ray.teachers.landmarks import aligned, landmarks
from liser_ray.teachers.mobilefacenet import MobileFaceNet, load_mobilefacenet
from liser_ray.teachers.speaks import correlations, level_db, mouth_motion

SPAN_S = 16.0
HOP_S = 0.5
INNER_LIPS = ((61, 67), (62, 66), (63, 65))
SIGNALS = ("opening", "jaw", "motion")
TREATMENTS = ("raw", "fast")
LAGS = ("window", "span")
Measure = tuple[str, str, str]


@dataclass(frozen=True)
class Recording:
    """A face and its sound on the 30-Hz grid.

    Attributes:
        points: float32 [T, 68, 2], in pixels of the crop.
        found: bool [T], whether the face is there.
        level_db: float64 [T].
        speech: int32 [S, 2], stretches in samples.
    """

    name: str
    points: np.ndarray
    found: np.ndarray
    level_db: np.ndarray
    speech: np.ndarray


def read(path: Path, network: MobileFaceNet, cache: Path) -> Recording:
    """Landmarks of all of a recording's whole windows, from the cache if they are there, and its sound."""
    kept = cache / f"{path.stem}.npz"
    if not kept.exists():
        with Reader(str(path)) as reader:
            duration_s = reader.header.duration_s or SPAN_S
        points, found, pcm = [], [], []
        for start_s in np.arange(0, duration_s - 0.6, SPAN_S):
            end_s = min(start_s + SPAN_S, duration_s)
            media = prepare_span(
                str(path), start_s, end_s, MediaConfig(min_speech_fraction=0), Needs(face=False, speech=False)
            )
            crops = media.clips.reshape(-1, *media.clips.shape[2:])
            # A source of 25 pictures a second shows some twice: these are asked about once.
            fresh = np.r_[True, [bool((a != b).any()) for a, b in zip(crops[1:], crops[:-1], strict=True)]]
            with torch.inference_mode():
                parts = [landmarks(network, as_rgb(one[None]))[0] for one in torch.from_numpy(crops[fresh]).split(16)]
            points.append(torch.cat(parts).numpy()[np.cumsum(fresh) - 1])
            found.append(crops.any(axis=(1, 2)))
            n_samples = round(len(crops) / FRAME_RATE_HZ * SAMPLE_RATE_HZ)
            pcm.append(np.pad(decode_flac(media.audio), (0, n_samples))[:n_samples])
        np.savez(kept, points=np.concatenate(points), found=np.concatenate(found), pcm=np.concatenate(pcm))
    with np.load(kept) as one:
        points, found, pcm = one["points"], one["found"], one["pcm"]
    return Recording(path.stem, points, found, level_db(pcm, len(points)), speech_stretches(pcm))


def mouth_signals(points: np.ndarray, step: int = 1) -> dict[str, np.ndarray]:
    """The signals, float64 [T], of every `step`-th picture, the others interpolated."""
    cells = np.arange(len(points))
    z = uniform_filter1d(aligned(points[::step]), 3, axis=0, mode="nearest")
    signals = {
        "opening": np.mean([np.abs(z[:, a] - z[:, b]) for a, b in INNER_LIPS], axis=0),
        "jaw": np.abs(z[:, 8] - z[:, 27]),
        "motion": mouth_motion(points[::step]) * FRAME_RATE_HZ / step,
    }
    return {name: np.interp(cells, cells[::step], one) for name, one in signals.items()}


def treated(signal: np.ndarray, treatment: str) -> np.ndarray:
    return signal - uniform_filter1d(signal, FRAME_RATE_HZ, mode="nearest") if treatment == "fast" else signal


@dataclass(frozen=True)
class Pair:
    """The windows of a face with a sound.

    Attributes:
        face, sound: their names.
        scores: by measure, float64 [W].
        spoken: float [W], share of speech in the sound put there.
        own: float [W], share of speech in the face's own sound.
    """

    face: str
    sound: str
    scores: Mapping[Measure, np.ndarray]
    spoken: np.ndarray
    own: np.ndarray


def pair(
    face: Recording, sound: Recording, window_s: float, measures: Iterable[Measure], shift_s: float = 0, step: int = 1
) -> Pair:
    """A face with a sound; a positive shift puts the sound of `shift_s` later under a picture."""
    shift = round(shift_s * FRAME_RATE_HZ)
    signals = mouth_signals(face.points, step)
    n_cells = min(len(face.points) - max(0, -shift), len(sound.level_db) - max(0, shift))
    of_face, of_sound = slice(max(0, -shift), max(0, -shift) + n_cells), slice(max(0, shift), max(0, shift) + n_cells)
    n, hop = round(window_s * FRAME_RATE_HZ), round(HOP_S * FRAME_RATE_HZ)
    starts = np.arange(0, n_cells - n + 1, hop)
    seen = np.array([face.found[of_face][k : k + n].mean() for k in starts])
    starts = starts[seen >= 0.9] if len(starts) else starts
    scores: dict[Measure, np.ndarray] = {}
    for name, treatment in {(one[0], one[1]) for one in measures}:
        mouth, level = (treated(signal, treatment) for signal in (signals[name], sound.level_db))
        by_lag = correlations(mouth[of_face], level[of_sound], starts, n)
        scores[name, treatment, "window"] = by_lag.max(axis=1)
        shared = by_lag.copy()
        span = starts // round(SPAN_S * FRAME_RATE_HZ)
        for number in np.unique(span):
            shared[span == number] = by_lag[span == number].mean(axis=0)
        scores[name, treatment, "span"] = by_lag[np.arange(len(starts)), shared.argmax(axis=1)]
    still = np.array([signals["motion"][of_face][k : k + n].mean() for k in starts])
    scores["motion", "mean", ""] = still

    def spoken(one: Recording, first: int) -> np.ndarray:
        at = np.round((starts + first) / FRAME_RATE_HZ * SAMPLE_RATE_HZ).astype(int)
        return speech_shares(one.speech, at, round(window_s * SAMPLE_RATE_HZ))

    return Pair(face.name, sound.name, scores, spoken(sound, of_sound.start), spoken(face, of_face.start))


def auc(right: list[np.ndarray], wrong: list[np.ndarray]) -> float:
    """Area under the ROC curve; every pair weighs the same, whatever its windows. NaN without any of one kind."""
    groups = [(1, one, len(right)) for one in right if len(one)] + [(0, one, len(wrong)) for one in wrong if len(one)]
    if len({kind for kind, _, _ in groups}) < 2:
        return math.nan
    truth = np.concatenate([np.full(len(one), kind) for kind, one, _ in groups])
    weights = np.concatenate([np.full(len(one), 1 / len(one) / n) for _, one, n in groups])
    return float(roc_auc_score(truth, np.concatenate([one for _, one, _ in groups]), sample_weight=weights))


def counted(pairs: Iterable[Pair], measure: Measure) -> list[np.ndarray]:
    return [one.scores[measure][one.spoken >= 0.5] for one in pairs]


def of_names(pairs: list[Pair], faces: Iterable[str], sounds: Iterable[str]) -> tuple[list[Pair], list[Pair]]:
    faces, sounds = set(faces), set(sounds)
    chosen = [one for one in pairs if one.face in faces and one.sound in sounds]
    return [one for one in chosen if one.face == one.sound], [one for one in chosen if one.face != one.sound]


def auc_of(pairs: list[Pair], faces: Iterable[str], sounds: Iterable[str], measure: Measure) -> float:
    right, wrong = of_names(pairs, faces, sounds)
    return auc(counted(right, measure), counted(wrong, measure))


def interval(pairs: list[Pair], faces: list[str], sounds: Iterable[str], measure: Measure) -> tuple[float, float]:
    """95 % of the AUCs with faces drawn anew, each with its right pair and its wrong ones."""
    by_face = {face: of_names(pairs, [face], sounds) for face in faces}
    draws = np.random.default_rng(0).choice(faces, (1000, len(faces)))
    found = []
    for drawn in draws:
        right = [one for face in drawn for one in counted(by_face[face][0], measure)]
        wrong = [one for face in drawn for one in counted(by_face[face][1], measure)]
        found.append(auc(right, wrong))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def table(head: list[str], rows: Iterable[Iterable[str]]) -> None:
    print(markdown(head, rows, len(head)), end="\n\n")


def label(measure: Measure) -> str:
    return " ".join(filter(None, measure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landmarks", type=Path, required=True, help="weights of S2D's landmark network")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/speaks"), help="folder to keep landmarks in")
    arguments = parser.parse_args()
    find_weights()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    network = load_mobilefacenet(arguments.landmarks)

    def recordings(paths: Iterable[Path]) -> list[Recording]:
        return [read(path, network, arguments.cache) for path in paths]

    heads = recordings(videos("talking_heads"))
    best = report(heads)
    print("Hard videos")
    for one in recordings(DATA / "hard_videos" / name for name in ("two_faces_cuts.mp4", "music_face.mp4")):
        found = pair(one, one, 2, [best])
        for name, scores in found.scores.items():
            print(one.name, label(name), np.round(scores, 2), "speech", np.round(found.spoken, 2))


def report(heads: list[Recording]) -> Measure:
    """Everything that the design asks for, in its order, and the measure that was chosen."""
    measures: list[Measure] = list(product(SIGNALS, TREATMENTS, LAGS))
    names = [one.name for one in heads]
    chosen_on, reported_on = names[::2], names[1::2]
    pairs = [pair(face, sound, 2, measures) for face, sound in product(heads, heads)]
    by_half = {
        one: [auc_of(pairs, half, half, one) for half in (chosen_on, reported_on)]
        for one in [*measures, ("motion", "mean", "")]
    }
    table(
        ["measure", "AUC, 7 to choose on", "AUC, the other 7"],
        ([label(one), f"{a:.3f}", f"{b:.3f}"] for one, (a, b) in by_half.items()),
    )
    best = max(measures, key=lambda one: by_half[one][0])
    print(f"Chosen: {label(best)}\n")

    def line(what: str, found: list[Pair], faces: list[str], sounds: list[str], measure: Measure) -> list[str]:
        right, wrong = of_names(found, faces, sounds)
        sizes = [sum(map(len, counted(kind, measure))) for kind in (right, wrong)]
        low, high = interval(found, faces, sounds, measure)
        value = auc_of(found, faces, sounds, measure)
        return [what, f"{value:.3f} [{low:.3f}, {high:.3f}]", *map(str, sizes)]

    rows = [
        line("the other 7: decides", pairs, reported_on, reported_on, best),
        line("14 x 13", pairs, names, names, best),
    ]
    slow = [pair(face, sound, 2, [best], step=2) for face, sound in product(heads, heads)]
    rows.append(line("14 x 13, every second picture", slow, names, names, best))
    for window_s in (1, 4, 8):
        some = [pair(face, sound, window_s, [best]) for face, sound in product(heads, heads)]
        long = [one.name for one in heads if len(one.points) >= (window_s * FRAME_RATE_HZ)]
        rows.append(line(f"{window_s} s, {len(long)} recordings", some, long, long, best))
    table(["pairs", f"AUC of {label(best)}", "right windows", "wrong windows"], rows)
    table(
        ["face", "AUC", "median, right", "median, wrong", "windows"],
        (
            [face, f"{auc_of(pairs, [face], names, best):.2f}", *medians(of_names(pairs, [face], names), best)]
            for face in names
        ),
    )
    operating_points(pairs, best)
    controls(heads, pairs, best)
    return best


def operating_points(pairs: list[Pair], best: Measure) -> None:
    """What thresholds make of windows and of spans, right and wrong ones; every pair weighs the same."""
    kinds = [[one for one in pairs if (one.face == one.sound) == right] for right in (True, False)]

    def shares(threshold: float) -> Iterable[str]:
        for found in kinds:
            windows = [one for one in counted(found, best) if len(one)]
            spans = [
                [of_span.max() < threshold for of_span in np.array_split(one, math.ceil(len(one) * HOP_S / SPAN_S))]
                for one in windows
            ]
            yield f"{np.mean([(one < threshold).mean() for one in windows]):.2f}"
            yield f"{np.mean([np.mean(one) for one in spans]):.2f}"

    table(
        ["threshold", "right windows below", "right spans, all below", "wrong windows below", "wrong spans, all below"],
        ([f"{threshold:.2f}", *shares(threshold)] for threshold in np.arange(0.05, 0.55, 0.05)),
    )


def medians(both: tuple[list[Pair], list[Pair]], measure: Measure) -> list[str]:
    right, wrong = (np.concatenate([np.zeros(0), *counted(kind, measure)]) for kind in both)
    return [*(f"{np.median(one):.2f}" if len(one) else "–" for one in (right, wrong)), str(len(right))]


def controls(heads: list[Recording], pairs: list[Pair], best: Measure) -> None:
    long = [one for one in heads if len(one.points) >= 4.2 * FRAME_RATE_HZ]
    right = [one for one in pairs if one.face == one.sound and one.face in {head.name for head in long}]
    shifted = [pair(one, one, 2, [best], shift_s) for one, shift_s in product(long, (-2.0, 2.0))]
    value = auc(counted(right, best), counted(shifted, best))
    print(f"Own sound shifted by 2 s, {len(long)} recordings: AUC {value:.3f}")

    second = [pair(face, sound, 1, [best]) for face, sound in product(heads, heads)]
    listeners = [one for one in second if one.face != one.sound]
    judged: dict[Measure, Callable[[Pair], np.ndarray]] = {
        one: lambda found, one=one: found.scores[one][(found.spoken >= 0.5) & (found.own == 0)]
        for one in (best, ("motion", "mean", ""))
    }
    silent = {one.face: int((one.own == 0).sum()) for one in second if one.face == one.sound}
    print("Windows of 1 s without speech of the face's own:", {face: n for face, n in silent.items() if n})
    for measure, scores in judged.items():
        own = [one for one in second if one.face == one.sound]
        value = auc(counted(own, measure), [scores(one) for one in listeners if len(scores(one))])
        print(f"A speaker against a listener, 1 s: {label(measure)}: AUC {value:.3f}")


if __name__ == "__main__":
    main()

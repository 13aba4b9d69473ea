"""How far our descriptors of the voice go together with openSMILE's, and how good prosodic teachers are.

    python jobs/finetune_prosody_teacher.py --labeled ravdess:DIR --output TEACHERS
    pip install opensmile    # its licence is non-commercial
    python benchmarks/prosody.py --labeled ravdess:DIR --teachers TEACHERS

Prints the tables of results/prosody.md.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.signal import lfilter

from liser_ray.corpora.labeled import read_labeled_set
from liser_ray.corpora.speech import read_waveform
from liser_ray.teachers.bundles import read_bundle
from liser_ray.teachers.prosody.descriptors import NAMES
from liser_ray.teachers.prosody.sources import SOURCES

MOST_LAG = 3
"""Frames by which a descriptor may be later or earlier than openSMILE's: its frames of 60 ms begin where those of 20 ms
do, ours have the same middles."""
F0 = NAMES.index("f0_semitones")
"""The first of those that are of the voice."""
RATE_HZ = 16_000
VOWELS_HZ = ((700, 1200, 2600), (320, 2200, 3000), (450, 850, 2500))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labeled", required=True)
    parser.add_argument("--teachers", required=True)
    parser.add_argument("--of_each_speaker", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(scores(Path(options.teachers)))
    print()
    print(beside_opensmile(list(described(options.labeled, options.of_each_speaker, options.seed))))
    print()
    print(of_known_sounds())


def described(labeled: str, of_each_speaker: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Our descriptors and openSMILE's, float32 [25, T] each, of some recordings of each speaker, drawn at random."""
    listed, rng = read_labeled_set(labeled), np.random.default_rng(seed)
    seconds, sound_s = dict.fromkeys(SOURCES, 0.0), 0.0
    for speaker in listed.speakers:
        of_speaker = [one for one in listed.utterances if one.speaker == speaker]
        for k in rng.choice(len(of_speaker), of_each_speaker, replace=False):
            pcm = read_waveform(of_speaker[k].uri)
            sound_s += len(pcm) / RATE_HZ
            found = {}
            for source, describe in SOURCES.items():
                started = time.process_time()
                found[source] = describe(torch.from_numpy(pcm.astype(np.float32) / 32768)).numpy()
                seconds[source] += time.process_time() - started
            yield found["torch"], found["opensmile"]
    speed = ", ".join(f"{source} {sound_s / spent:.0f} s of sound a second" for source, spent in seconds.items())
    n_speakers = len(listed.speakers)
    print(f"{n_speakers * of_each_speaker} recordings of {n_speakers} speakers; on one core: {speed}.\n")


def beside_opensmile(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Correlation of each descriptor over all frames, of the voice's and formants' those that both call voiced."""
    rows = ["| descriptor | correlation | within recordings, median | frames later |", "|---|--:|--:|--:|"]
    for number, name in enumerate(NAMES):
        found = [(lag, *correlations(pairs, number, lag)) for lag in range(-MOST_LAG, MOST_LAG + 1)]
        lag, pooled, within = max(found, key=lambda one: one[1])
        rows.append(f"| {name} | {pooled:.3f} | {within:.3f} | {lag} |")
    voiced = [[one[F0] > 0 for one in aligned(pair, 2)] for pair in pairs]
    ours, theirs = (np.concatenate([one[k] for one in voiced]) for k in (0, 1))
    pitch = np.hstack([np.stack([one[F0] for one in aligned(pair, 2)]) for pair in pairs])[:, ours & theirs]
    near = (np.abs(pitch[0] - pitch[1]) < 1).mean()
    return "\n".join(
        [
            *rows,
            "",
            f"Voiced: {ours.mean():.1%} of the frames by ours, {theirs.mean():.1%} by openSMILE, the same of "
            f"{(ours == theirs).mean():.1%}. Of frames that both call voiced {near:.1%} are within a semitone.",
        ]
    )


def of_known_sounds() -> str:
    """What both say of vowels of 120 Hz whose formants are known, and of three sines whose levels are."""
    seconds = np.arange(RATE_HZ) / RATE_HZ
    rows = ["| sound | descriptors | known | torch | opensmile |", "|---|---|---|---|---|"]
    for formants_hz in VOWELS_HZ:
        sound = np.zeros(RATE_HZ)
        sound[:: RATE_HZ // 120] = 1
        sound = lfilter([1], [1, -0.95], sound)
        for hz in (*formants_hz, 3600, 4600):
            radius = np.exp(-np.pi * 100 / RATE_HZ)
            sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE_HZ), radius**2], sound)
        names = ["f1_hz", "f2_hz", "f3_hz"]
        rows.append(said_of("vowel", sound / np.abs(sound).max() / 2, names, ", ".join(map(str, formants_hz))))
    sines = sum(level * np.sin(2 * np.pi * 200 * k * seconds) for k, level in ((1, 0.4), (2, 0.2), (3, 0.02)))
    rows.append(said_of("sines of 200, 400 and 600 Hz at 0, -6 and -26 dB", sines, ["h1_h2_db"], "6.0"))
    return "\n".join(rows)


def said_of(what: str, sound: np.ndarray, names: list[str], known: str) -> str:
    """A row: medians over the frames of what each source says."""
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(sound))
    cells = []
    for describe in SOURCES.values():
        found = describe(torch.from_numpy((sound + noise).astype(np.float32))).numpy()
        medians = [np.median(found[NAMES.index(name)]) for name in names]
        cells.append(", ".join(f"{one:.0f}" if one > 100 else f"{one:.1f}" for one in medians))
    return f"| {what} | {', '.join(names)} | {known} | {' | '.join(cells)} |"


def correlations(pairs: list[tuple[np.ndarray, np.ndarray]], number: int, lag: int) -> tuple[float, float]:
    """Of a descriptor, over all recordings' frames together, and the median of the recordings' own."""
    series = []
    for pair in pairs:
        ours, theirs = aligned(pair, lag)
        counted = np.ones(ours.shape[1], bool)
        if number >= F0:
            counted = (ours[F0] > 0) & (theirs[F0] > 0)
        series.append(np.stack([ours[number][counted], theirs[number][counted]]))
    alone = [np.corrcoef(one)[0, 1] for one in series if one.shape[1] > 20 and one.std(axis=1).min() > 0]
    return float(np.corrcoef(np.hstack(series))[0, 1]), float(np.median(alone))


def aligned(pair: tuple[np.ndarray, np.ndarray], lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Both, ours from so many frames later on."""
    ours, theirs = pair[0][:, max(0, lag) :], pair[1][:, max(0, -lag) :]
    n = min(ours.shape[1], theirs.shape[1])
    return ours[:, :n], theirs[:, :n]


def scores(teachers: Path) -> str:
    """UAR of each fold's teacher on its test speakers, beside chance, and what it says of itself."""
    evaluation = json.loads((teachers / "evaluation.json").read_text())
    rows = ["| fold | recordings | UAR | WAR | selection speakers' UAR | temperature |", "|--:|--:|--:|--:|--:|--:|"]
    for fold, found in evaluation["folds"].items():
        bundle = read_bundle(str(teachers / f"fold-{fold}"))
        held_out = bundle.held_out(0.0)
        assert held_out is not None
        of_fold = found["recordings"]
        rows.append(
            f"| {fold} | {found['n_recordings']} | {of_fold['uar']:.3f} | {of_fold['war']:.3f} | "
            f"{held_out.uar:.3f} | {bundle.temperature(0.0):.2f} |"
        )
    overall, n_labels = evaluation["overall"]["recordings"], len(evaluation["overall"]["recordings"]["confusion"])
    total = sum(one["n_recordings"] for one in evaluation["folds"].values())
    rows.append(f"| all together | {total:,} | {overall['uar']:.3f} | {overall['war']:.3f} | | |")
    return "\n".join([*rows, "", f"Chance UAR is {1 / n_labels:.3f}."])


if __name__ == "__main__":
    main()

"""The demo's corpus: talking heads and speech to label, recordings that can't be used, and labeled speech.

    manifest.csv      uri, speaker, emotion: what the labeling job reads, all that there is
    videos/*.mp4      H.264 and AAC, 480 x 360, 25 or 30 fps
    speech/*.flac     16 kHz mono, without a label
    audio/*.flac      16 kHz mono
    audio/labels.csv  path, label, speaker, fold: the labeled set

Everything is drawn from the seed, so two corpora of one seed are equal. Speakers of the three folders are different
people, and the demo's teachers are fitted to yet others (`people.GROUPS`).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import soundfile

from liser_ray.demo.folders import make_once, write_csv
from liser_ray.demo.people import EMOTIONS, Person, person, take_rng
from liser_ray.demo.portrait import FRAME_SIZE_PX, portrait
from liser_ray.demo.videos import write_video
from liser_ray.demo.voices import SAMPLE_RATE_HZ, TRACK_RATE_HZ, Utterance, speak
from liser_ray.runtime.display import Counting

RECIPE = 5  # counts up when the same seed gives another corpus
AUDIO_FOLDS = 2

Row = tuple[str, str, str]
"""Of the manifest."""


@dataclass(frozen=True)
class Take:
    """A talking head to make."""

    name: str
    speaker: int
    emotion: str
    duration_s: float
    frame_rate_hz: int


@dataclass(frozen=True)
class CorpusSize:
    """How much to make; the defaults are the demo's."""

    takes: tuple[Take, ...] = (
        Take("a_neutral", 0, "neutral", 6.0, 25),
        Take("a_happy", 0, "happy", 5.0, 25),
        Take("b_sad", 1, "sad", 7.0, 30),
        Take("b_angry", 1, "angry", 5.0, 30),
        Take("c_surprised", 2, "surprised", 5.0, 25),
        Take("c_neutral", 2, "neutral", 6.5, 30),
        Take("d_happy", 3, "happy", 8.0, 30),
        Take("d_sad", 3, "sad", 5.5, 25),
        Take("e_angry", 4, "angry", 9.0, 25),
        Take("e_surprised", 4, "surprised", 4.5, 30),
        Take("f_happy_long", 5, "happy", 20.0, 25),  # over 16 s: a recording of two spans
        Take("f_sad", 5, "sad", 6.0, 30),
    )
    useless: bool = True  # three recordings that show reasons
    speech_speakers: int = 30  # who say something once with each emotion
    audio_speakers: int = 40
    audio_takes: int = 2  # per speaker and emotion


def make_corpus(folder: Path, seed: int = 0, size: CorpusSize | None = None) -> None:
    """Write the corpus, or do nothing if it is there already.

    The folder appears whole or not at all, in place of a corpus of another seed or size. Without a size it has the
    demo's twelve talking heads, 150 utterances without a label and 400 with one.

    Raises:
        UserError: if the folder holds something else.
    """
    size = size or CorpusSize()

    def fill(unfinished: Path) -> None:
        rows = _write_videos(unfinished, seed, size)
        rows += _write_speech(unfinished / "speech", seed, size.speech_speakers, 1)
        labeled = _write_speech(unfinished / "audio", seed, size.audio_speakers, size.audio_takes)
        write_csv(unfinished / "manifest.csv", ("uri", "speaker", "emotion"), [*rows, *labeled])
        write_csv(unfinished / "audio/labels.csv", ("path", "label", "speaker", "fold"), map(_labeled, labeled))

    make_once(folder, {"corpus": RECIPE, "seed": seed, **asdict(size)}, fill)


def _write_videos(folder: Path, seed: int, size: CorpusSize) -> list[Row]:
    (folder / "videos").mkdir()
    portrait()  # before the threads, which would each make their own
    people = {number: person(seed, "videos", number) for number in {take.speaker for take in size.takes}}
    tasks = [partial(_write_take, folder, seed, people[take.speaker], take) for take in size.takes]
    rows = [(f"videos/{take.name}.mp4", f"speaker_{take.speaker}", take.emotion) for take in size.takes]
    if size.useless:
        stranger = person(seed, "videos", len(people))
        tasks += [partial(_write_faceless, folder, seed, stranger), partial(_write_silent, folder, seed, stranger)]
        (folder / "videos/not_a_video.mp4").write_text("This is a text file whose name says otherwise.\n")
        rows += [(f"videos/{name}.mp4", "", "") for name in ("no_face", "silent", "not_a_video")]
    # Most of the time goes to OpenCV and x264, which let other threads run. Long takes first: they end last.
    with ThreadPoolExecutor(os.cpu_count()) as pool, Counting("videos", len(tasks)) as counting:
        for done in [pool.submit(task) for task in tasks]:
            done.result()
            counting.advance()
    return rows


def _write_take(folder: Path, seed: int, someone: Person, take: Take) -> None:
    rng = take_rng(seed, "videos", take.speaker, 1 + EMOTIONS.index(take.emotion))
    utterance = speak(someone.voice, take.emotion, take.duration_s, rng)
    mouth = mouth_per_frame(utterance, take.duration_s, take.frame_rate_hz)
    frames = someone.face.frames(take.emotion, mouth, take.frame_rate_hz, rng)
    write_video(folder / f"videos/{take.name}.mp4", frames, take.frame_rate_hz, utterance.waveform)


def _write_faceless(folder: Path, seed: int, someone: Person) -> None:
    """A voice over a cup of coffee: `skimage.data.coffee` (Rachel Michetti, CC0), slowly moving closer."""
    rng, duration_s, frame_rate_hz = take_rng(seed, "videos", 1000), 5.0, 25
    coffee = skimage.data.coffee()
    height, width = coffee.shape[:2]

    def nearer(number: int) -> np.ndarray:
        closer = cv2.getRotationMatrix2D((width / 2, height / 2), 0, 1 + 0.001 * number)
        closer[:, 2] -= ((width - FRAME_SIZE_PX[0]) / 2, (height - FRAME_SIZE_PX[1]) / 2)
        return cv2.warpAffine(coffee, closer, FRAME_SIZE_PX, flags=cv2.INTER_LINEAR)

    frames = map(nearer, range(round(duration_s * frame_rate_hz)))
    waveform = speak(someone.voice, "neutral", duration_s, rng).waveform
    write_video(folder / "videos/no_face.mp4", frames, frame_rate_hz, waveform)


def _write_silent(folder: Path, seed: int, someone: Person) -> None:
    """A face that says nothing, in a quiet room."""
    rng, duration_s, frame_rate_hz = take_rng(seed, "videos", 1001), 5.0, 25
    room = rng.standard_normal(round(duration_s * SAMPLE_RATE_HZ)).astype(np.float32) * 5e-4
    closed = np.zeros(round(duration_s * frame_rate_hz))
    frames = someone.face.frames("neutral", closed, frame_rate_hz, rng)
    write_video(folder / "videos/silent.mp4", frames, frame_rate_hz, room)


def _write_speech(folder: Path, seed: int, speakers: int, takes: int) -> list[Row]:
    """Recordings of the group of people whom the folder is called after; each speaks so often with each emotion."""
    folder.mkdir()
    group, rows = folder.name, []
    for speaker in range(speakers):
        voice = person(seed, group, speaker).voice
        for emotion in EMOTIONS:
            for take in range(takes):
                rng = take_rng(seed, group, speaker, 1 + len(EMOTIONS) * take + EMOTIONS.index(emotion))
                utterance = speak(voice, emotion, float(rng.uniform(2.5, 3.5)), rng)
                name = f"speaker_{speaker}_{emotion}_{take}.flac"
                soundfile.write(folder / name, utterance.waveform, SAMPLE_RATE_HZ, subtype="PCM_16")
                rows.append((f"{group}/{name}", f"{group}_{speaker}", emotion))
    return rows


def _labeled(row: Row) -> tuple[str, str, str, str]:
    """A row of the labeled set; its speaker's number says in which fold it is tested."""
    uri, speaker, emotion = row
    return uri.rpartition("/")[2], emotion, speaker, str(int(speaker.rpartition("_")[2]) % AUDIO_FOLDS)


def mouth_per_frame(utterance: Utterance, duration_s: float, frame_rate_hz: float) -> np.ndarray:
    """How far the mouth is open in the middle of each video frame, 0..1, float [n_frames]."""
    frame_s = (np.arange(round(duration_s * frame_rate_hz)) + 0.5) / frame_rate_hz
    return np.interp(frame_s * TRACK_RATE_HZ, np.arange(len(utterance.mouth)), utterance.mouth)

"""The demo as settings of the labeling job: its corpus and teachers are made if they are not there."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from liser_ray.demo.corpus import make_corpus
from liser_ray.demo.networks import fit_networks, speech_settings
from liser_ray.labeling.config import LabelConfig
from liser_ray.runtime.display import clock
from liser_ray.runtime.errors import UserError
from liser_ray.storage.addresses import is_s3
from liser_ray.teachers.finetuning.job import finetune

Settings = TypeVar("Settings", bound=LabelConfig)


def demo_settings(config: Settings, n_steps: int = 4, last: str = "label") -> Settings:
    """The given settings with the demo's input and teachers; what is made lies in the output folder.

    Faces are found by OpenCV's Haar cascade, which needs no download, and whose crops the video teacher was fitted to.

    Args:
        config: of the labeling job, or of one that takes its settings.
        n_steps: how many steps there are for whoever reads along.
        last: the fourth of them, which is the caller's.

    Raises:
        UserError: if the output is no folder.
    """
    if is_s3(config.output):
        raise UserError("The demo makes its corpus in a folder: give --output one, or your own videos as --input.")
    folder = Path(config.output).absolute()
    started = time.monotonic()
    make_corpus(folder / "corpus")
    n_videos = len(list((folder / "corpus/videos").iterdir()))
    print(
        f"[1/{n_steps}] corpus    {n_videos} videos in {folder / 'corpus'}  {clock(time.monotonic() - started)}",
        flush=True,
    )
    started = time.monotonic()
    networks = fit_networks(folder / "corpus", folder / "networks")
    print(f"[2/{n_steps}] networks  {folder / 'networks'}  {clock(time.monotonic() - started)}", flush=True)
    started = time.monotonic()
    tuned = finetune(speech_settings(folder / "corpus", networks, folder / "speech_teachers"))
    scores = tuned.evaluation["overall"]["recordings"]
    print(
        f"[3/{n_steps}] speech teachers  {len(tuned.bundles)} folds, UAR {scores['uar']:.2f} on unknown speakers "
        f"(chance {1 / len(tuned.labels):.2f})  {clock(time.monotonic() - started)}",
        flush=True,
    )
    print(f"[4/{n_steps}] {last}", flush=True)
    return replace(
        config,
        input=str(folder / "corpus/manifest.csv"),
        output=str(folder),
        speech_teachers=[f"{tuned.output}/fold-*"],
        video_teacher=replace(
            config.video_teacher,
            weights=str(networks.video_weights),
            landmark_weights=str(networks.landmark_weights),
        ),
        media=replace(config.media, faces=replace(config.media.faces, detector="opencv")),
    )

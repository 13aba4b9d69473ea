"""A trained teacher's folder: where it goes, what it says of its base, and its model card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liser_ray.finetuning.method import CardText
from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import write_bytes
from liser_ray.teachers.bundles import BUNDLE_FILE


def base_name(base: str, base_folder: Path) -> tuple[str, str | None]:
    """Name and revision of a base model as PEFT writes them: ``owner/name`` and a commit for one from the hub."""
    if not base.startswith("hf://"):
        return absolute(base), None
    name, _, revision = base.removeprefix("hf://").partition("@")
    snapshot = base_folder.name if re.fullmatch(r"[0-9a-f]{40}", base_folder.name) else None
    return name, snapshot or revision or None


def upload(folder: Path, uri: str) -> None:
    """Copy a bundle to its place, the card last: where it is, the bundle is whole."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.name == BUNDLE_FILE):
        write_bytes(join(uri, path.relative_to(folder).as_posix()), path.read_bytes())


def model_card(card: Mapping[str, Any], text: CardText) -> str:
    """README.md of a bundle, from its ``bundle.json``."""
    scores, speakers = card["scores"], card["speakers"]
    rows = "\n".join(
        f"| {what} | {scores[way]['uar']:.3f} | {scores[way]['war']:.3f} |" for way, what in text.ways.items()
    )
    named = {part: ", ".join(names) for part, names in speakers.items()}
    picked_on = "speakers" if card["held_out_by"] == "speaker" else "other recordings of speakers"
    single, (temperature, *_) = calibrated(scores), card["temperatures"].values()
    ece, ece_calibrated = (scores[single][key] for key in ("calibration_error", "calibration_error_with_temperature"))
    of_recordings = card["labeled_fraction"] < 1 and card["labeled_by"] == "recording"
    base = card.get("base", {}).get("name", "")
    of_hub = f"base_model: {base}\n" if re.fullmatch(r"[\w.-]+/[\w.-]+", base) else ""
    share = f", {card['labeled_fraction']:.0%} of their recordings" if of_recordings else ""
    return f"""\
---
library_name: {text.loader}
{of_hub}pipeline_tag: {text.task}
tags: [speech-emotion-recognition, liser]
---
# {text.title}: {card["labeled"]}, fold {card["fold"]}

{text.how}, tuned on {card["labeled"]}.
Labels, in order: {", ".join(card["labels"])}. Input: {text.takes}.

| {scores["n_recordings"]} recordings of speakers {named["test"]} | UAR | WAR |
|---|---|---|
{rows}

Chance UAR is {1 / len(card["labels"]):.3f}. Calibration error of single {single}: {ece:.3f}, and {ece_calibrated:.3f}
at temperature {temperature:.2f}, which is stored and not applied.

* Trained on speakers {named["train"]}{share}.
* Epoch {card["best_epoch"]} and the temperature were picked on {picked_on} {named["selection"]}.
* Never heard: speakers {", ".join(filter(None, (named["validation"], named["test"])))}. Score a student on no others.
* {text.warning}

{text.use}"""


def calibrated(scores: Mapping[str, Any]) -> str:
    """Name of the way of asking whose temperature is the first of those that were fitted."""
    return next(name for name, one in scores.items() if isinstance(one, dict) and "calibration_error" in one)

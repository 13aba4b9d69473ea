"""A trained teacher as a folder: a PEFT adapter or a head; ``bundle.json`` and the model card come on top."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from peft import PeftModel

from liser_ray.storage.addresses import absolute, join
from liser_ray.storage.files import write_bytes
from liser_ray.teachers.bundles import BUNDLE_FILE
from liser_ray.teachers.speech_inputs import PREPROCESSORS, Preparation


def write_adapter(folder: Path, model: PeftModel, base: str, revision: str | None) -> None:
    """Write an adapter with its head, as PEFT reads it."""
    settings = model.peft_config["default"]
    settings.base_model_name_or_path, settings.revision = base, revision
    model.save_pretrained(str(folder))


def write_usage(folder: Path, labels: Collection[str], prepare: Preparation) -> None:
    """Write label names and preprocessor, as Transformers reads it."""
    (folder / "labels.json").write_text(json.dumps(list(labels)))
    (folder / PREPROCESSORS[0]).write_text(prepare.to_json())


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


def model_card(card: dict[str, Any]) -> str:
    """README.md of a bundle, from its ``bundle.json``."""
    scores, speakers, base = card["scores"], card["speakers"], card["base"]["name"]
    rows = "\n".join(
        f"| {what} | {scores[key]['uar']:.3f} | {scores[key]['war']:.3f} |"
        for what, key in (
            ("whole recordings", "recordings"),
            ("mean of 0.5-s windows, each heard with 3 s", "windows_of_3s"),
            ("mean of 0.5-s windows", "windows"),
        )
    )
    named = {part: ", ".join(names) for part, names in speakers.items()}
    picked_on = "speakers" if card["held_out_by"] == "speaker" else "other recordings of speakers"
    ece, ece_calibrated = (
        scores["windows"][key] for key in ("calibration_error", "calibration_error_with_temperature")
    )
    share = f", {card['labeled_fraction']:.0%} of their recordings" if card["labeled_fraction"] < 1 else ""
    lora = card["settings"].get("lora")
    how = f"with LoRA (rank {lora['rank']}) and a new head" if lora else "as it is, with a head on all its layers"
    hub = f"base_model: {base}\n" if re.fullmatch(r"[\w.-]+/[\w.-]+", base) else ""
    return f"""\
---
library_name: {"peft" if lora else "liser-ray"}
{hub}pipeline_tag: audio-classification
tags: [speech-emotion-recognition, liser]
---
# Speech emotion teacher: {card["labeled"]}, fold {card["fold"]}

{base} {how}, tuned on {card["labeled"]}.
Labels, in order: {", ".join(card["labels"])}. Input: 16 kHz mono.

| {scores["n_recordings"]} recordings of speakers {named["test"]} | UAR | WAR |
|---|---|---|
{rows}

Chance UAR is {1 / len(card["labels"]):.3f}. Calibration error of single windows: {ece:.3f}, and {ece_calibrated:.3f}
at temperature {card["temperatures"]["0.5"]:.2f}, which is stored and not applied.

* Trained on speakers {named["train"]}{share}.
* Epoch {card["best_epoch"]} and the temperature were picked on {picked_on} {named["selection"]}.
* Never heard: speakers {", ".join(filter(None, (named["validation"], named["test"])))}. Score a student on no others.
* Acted speech teaches acted emotions: on spontaneous speech expect much less. It knows nothing of what a person feels.

{_LORA_USE.format(base=base) if lora else _HEAD_USE}"""


_LORA_USE = """\
```python
import json
from peft import PeftModel
from transformers import AutoModelForAudioClassification

labels = json.load(open("labels.json"))
base = AutoModelForAudioClassification.from_pretrained("{base}", num_labels=len(labels))
model = PeftModel.from_pretrained(base, ".").eval()
```
"""
_HEAD_USE = """\
```python
import torch
from liser_ray.teachers.kinds.speech import Options, load

teacher = load("speech", Options("."), torch.device("cpu"), "float32")
softmax = teacher(windows)["speech"].values  # of windows float32 [N, 8000], 16 kHz, -1..1
```
"""

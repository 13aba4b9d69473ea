import numpy as np
import pytest
import torch
from transformers import HubertModel

from liser_ray.demo.face_teacher import with_frames
from liser_ray.demo.networks import FitSize, fit_networks
from liser_ray.demo.people import FACE_LABELS
from liser_ray.demo.speech_base import pretrain_speech_base
from liser_ray.storage.fetch import sha256
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer
from liser_ray.teachers.speech_models import load_base


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.soak
def test_fitted_files_load_and_are_fitted_once(tmp_path):
    size = FitSize(speech_speakers=1, speech_steps=2, face_speakers=1, face_epochs=1)
    made = fit_networks(tmp_path / "networks", size=size)

    base = load_base(made.speech_base, torch.device("cpu"))
    assert {key.split(".")[0] for key in base.missing} == {"projector", "classifier"}  # all but the head is there
    _, info = HubertModel.from_pretrained(made.speech_base, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]

    (entry,) = read_teachers({"face": made.face})
    face = entry.load(torch.device("cpu"))
    assert face.targets[0].labels == FACE_LABELS
    assert face(np.zeros((1, 16, 224, 224, 3), np.uint8))["face"].values.sum() == pytest.approx(1, abs=1e-5)

    written = contents(tmp_path / "networks")
    assert fit_networks(tmp_path / "networks", size=size) == made
    assert contents(tmp_path / "networks") == written


def test_same_seed_same_weights(tmp_path):
    for name, seed in (("one", 0), ("other", 0), ("another", 1)):
        pretrain_speech_base(tmp_path / name, seed, speakers=1, steps=2)
    assert sha256(tmp_path / "one") == sha256(tmp_path / "other") != sha256(tmp_path / "another")


def test_a_repeated_picture_is_judged_as_it_is_alone():
    torch.manual_seed(0)
    one = VideoTransformer(S2DConfig(embed_dim=96, depth=1, heads=4, frames=1, num_classes=5)).eval()
    picture, guidance = torch.rand(1, 1, 3, 224, 224), torch.rand(1, 128, 14, 14)
    with torch.inference_mode():
        alone, _ = one(picture, guidance)
        repeated, _ = with_frames(one, 16)(picture.expand(-1, 16, -1, -1, -1), guidance.expand(16, -1, -1, -1))
    torch.testing.assert_close(repeated, alone, atol=1e-4, rtol=0)

"""Teachers of face clips, of both kinds: labels, batches, and what is refused."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from small_teachers import mean_colour_onnx, s2d_networks
from transformers import AutoModelForImageClassification, ResNetConfig

from liser_ray.runtime.errors import UserError
from liser_ray.storage.fetch import sha256
from liser_ray.teachers.clips import CLIP_S, ClipTeacher
from liser_ray.teachers.faces import FaceModel, load_onnx
from liser_ray.teachers.kinds import face, read_teachers, s2d
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer, save_s2d
from liser_ray.teachers.s2d_teacher import FERV39K_LABELS, s2d_forward, s2d_teacher
from liser_ray.teachers.weights import save_checkpoint

CPU = torch.device("cpu")
LABELS = ("angry", "happy", "sad")
MINI = S2DConfig(embed_dim=64, depth=2, heads=1, num_classes=7)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from a second thread, and on a busy machine they wait for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_clips(n: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, 16, 224, 224, 3], each of its own brightness and contrast."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (n, 16, 7, 7, 3), dtype=np.uint8)
    return np.repeat(np.repeat(cells, 32, axis=2), 32, axis=3)


@pytest.fixture(scope="module")
def s2d_files(tmp_path_factory) -> Path:
    """A mini S2D in both file formats, and its landmark network."""
    folder = tmp_path_factory.mktemp("s2d")
    network, landmarks = s2d_networks(MINI)
    save_s2d(folder / "own.safetensors", network, ["a", "b", "c", "d", "e", "f", "g"])
    torch.save({"model": network.state_dict(), "args": argparse.Namespace(lr=1)}, folder / "published.pth")
    torch.save({"state_dict": landmarks.state_dict()}, folder / "landmark.pth.tar")
    return folder


def load_s2d(folder: Path, file: str = "published.pth", precision: str = "float32", **changes) -> ClipTeacher:
    values = {"weights": str(folder / file), "landmark_weights": str(folder / "landmark.pth.tar"), **changes}
    return s2d.load("face", s2d.Options(**values), CPU, precision)


def answers(teacher: ClipTeacher, clips: np.ndarray) -> np.ndarray:
    """Its softmaxes."""
    return teacher(clips)["face"].values


def labels(teacher: ClipTeacher) -> tuple[str, ...]:
    return teacher.targets[0].labels


class TestS2D:
    def test_softmax_per_clip_with_ferv39k_labels(self, s2d_files):
        teacher = load_s2d(s2d_files)
        softmax = answers(teacher, random_clips(3))
        assert softmax.shape == (3, 7)
        assert softmax.dtype == np.float32
        np.testing.assert_allclose(softmax.sum(axis=1), 1, rtol=1e-5)
        assert np.ptp(softmax, axis=0).max() > 0.01  # the clips do differ to it
        (target,) = teacher.targets
        assert (target.name, target.teacher, target.kind, target.labels) == (
            "face",
            "face",
            "distribution",
            FERV39K_LABELS,
        )
        assert target.window_s == target.hop_s == CLIP_S == pytest.approx(16 / 30)
        assert target.tuned_on is None
        assert answers(teacher, random_clips(0)).shape == (0, 7)
        files = (s2d_files / "published.pth", s2d_files / "landmark.pth.tar")
        assert target.sha256 == "+".join(map(sha256, files))

    @pytest.mark.numerics
    def test_order_and_batches_change_nothing(self, s2d_files):
        clips = random_clips(5)
        clips.flags.writeable = False  # as Ray Data hands batches out
        one_by_one = answers(load_s2d(s2d_files, batch_size=1), clips)
        batched = load_s2d(s2d_files, batch_size=2)
        np.testing.assert_allclose(answers(batched, clips), one_by_one, atol=1e-5)
        order = [3, 0, 4, 2, 1]
        np.testing.assert_allclose(answers(batched, clips[order]), one_by_one[order], atol=1e-5)
        np.testing.assert_allclose(answers(batched, clips[::-2]), one_by_one[::-2], atol=1e-5)

    def test_order_of_frames_and_channels_does_count(self, s2d_files):
        teacher, clips = load_s2d(s2d_files), random_clips(1)
        as_it_is = answers(teacher, clips)
        assert np.abs(answers(teacher, clips[:, ::-1]) - as_it_is).max() > 1e-4
        assert np.abs(answers(teacher, clips[..., ::-1]) - as_it_is).max() > 1e-4

    @pytest.mark.numerics
    @pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", ""])
    def test_bfloat16_on_a_cpu_that_has_instructions_for_it(self, s2d_files, monkeypatch, instructions):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True})
        clips = random_clips(2)
        full, bfloat16, float16 = (
            answers(load_s2d(s2d_files, precision=precision), clips) for precision in ("float32", "bfloat16", "float16")
        )
        assert 0 < np.abs(bfloat16 - full).max() < 0.01 if instructions else np.array_equal(bfloat16, full)
        np.testing.assert_array_equal(float16, full)

    @pytest.mark.numerics
    def test_lowered_weights_answer_as_autocast_does(self, monkeypatch):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
        network, landmarks = s2d_networks(MINI)
        clips = random_clips(1)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            expected = s2d_forward(network, landmarks, torch.from_numpy(clips))[0].float().softmax(dim=1).numpy()
        teacher = s2d_teacher("face", network, landmarks, FERV39K_LABELS, "", CPU, "bfloat16", 1)
        np.testing.assert_array_equal(answers(teacher, clips), expected)

    def test_labels_in_the_file_are_used_and_must_agree(self, s2d_files):
        assert labels(load_s2d(s2d_files, "own.safetensors")) == tuple("abcdefg")
        load_s2d(s2d_files, "own.safetensors", labels=tuple("ABCDEFG"))
        with pytest.raises(UserError, match="has the labels a, b, c, d, e, f, g, but you gave b, a"):
            load_s2d(s2d_files, "own.safetensors", labels=tuple("bacdefg"))

    def test_labels_must_fit_the_head(self, s2d_files, tmp_path):
        with pytest.raises(UserError, match="has 7 outputs, but there are 3 labels: angry, happy, sad"):
            load_s2d(s2d_files, labels=LABELS)
        with pytest.raises(UserError, match="a label comes twice"):
            load_s2d(s2d_files, labels=(*LABELS, *LABELS, "fear"))
        eleven = VideoTransformer(S2DConfig(embed_dim=64, depth=1, heads=1, num_classes=11))
        torch.save({"model": eleven.state_dict()}, tmp_path / "eleven.pth")
        with pytest.raises(UserError, match="has 11 outputs and no names for them"):
            load_s2d(s2d_files, weights=str(tmp_path / "eleven.pth"))

    def test_a_broken_list_of_labels_in_the_file_is_an_error(self, s2d_files, tmp_path):
        state = VideoTransformer(MINI).state_dict()
        save_checkpoint(tmp_path / "x.safetensors", state, {"labels": "angry, happy"})
        with pytest.raises(UserError, match="is no JSON list of names"):
            load_s2d(s2d_files, weights=str(tmp_path / "x.safetensors"))

    def test_missing_weights_say_what_to_get(self, s2d_files):
        with pytest.raises(UserError, match=r"(?s)No weights given.*cyinen/S2D.*face=s2d:S2D_WEIGHTS"):
            s2d.load("face", s2d.Options(), CPU, "float32")
        with pytest.raises(UserError, match=r"(?s)does not exist.*cyinen/S2D.*face=s2d:S2D_WEIGHTS"):
            load_s2d(s2d_files, "none.pth")
        with pytest.raises(UserError, match=r"mobilefacenet_model_best.*LANDMARK_WEIGHTS"):
            load_s2d(s2d_files, landmark_weights="")

    def test_swapped_files_are_an_error(self, s2d_files):
        with pytest.raises(UserError, match=r"landmark\.pth\.tar is no checkpoint of S2D's video transformer"):
            load_s2d(s2d_files, "landmark.pth.tar")
        with pytest.raises(UserError, match=r"published\.pth is no checkpoint of S2D's landmark network"):
            load_s2d(s2d_files, landmark_weights=str(s2d_files / "published.pth"))

    def test_clips_of_another_shape_or_type_and_batches_below_zero_are_refused(self, s2d_files):
        with pytest.raises(UserError, match="batch_size is -1: give 0 or more"):
            read_teachers({"face": {"kind": "s2d", "batch_size": -1}})
        teacher = load_s2d(s2d_files)
        with pytest.raises(ValueError, match="not uint8"):
            teacher(random_clips(1)[:, :8])
        with pytest.raises(ValueError, match="not uint8"):
            teacher(random_clips(1).astype(np.float32))


def load_face(folder: Path, text: str, **changes) -> ClipTeacher:
    """A description beside a network whose outputs are the mean of each channel, or another one there."""
    if not (folder / "m.onnx").exists():
        mean_colour_onnx(folder / "m.onnx", ("n", 3, 8, 8))
    (folder / "colours.yaml").write_text(text)
    return face.load("face", face.Options(weights=str(folder / "colours.yaml"), **changes), CPU, "float32")


PLAIN = "weights: m.onnx\nlabels: [Angry, happy, sad]\ninput_px: 8\nmean: [0, 0, 0]\nstd: [1, 1, 1]\n"


def coloured_clips(*colours: tuple[int, int, int]) -> np.ndarray:
    clips = np.zeros((len(colours), 16, 224, 224, 3), np.uint8)
    for clip, colour in zip(clips, colours, strict=True):
        clip[:] = colour
    return clips


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


class TestFace:
    @pytest.mark.numerics
    def test_softmaxes_of_the_frames_are_averaged(self, tmp_path):
        teacher = load_face(tmp_path, PLAIN)
        clips = coloured_clips((255, 0, 0), (0, 255, 0))
        clips[0, 8:] = (0, 0, 255)
        expected = (softmax(np.array([1.0, 0, 0])) + softmax(np.array([0, 0, 1.0]))) / 2
        found = answers(teacher, clips)
        np.testing.assert_allclose(found, [expected, softmax(np.array([0, 1.0, 0]))], atol=1e-5)
        assert found.dtype == np.float32
        assert labels(teacher) == LABELS
        assert teacher.targets[0].sha256 == sha256(tmp_path / "m.onnx") + "+" + sha256(tmp_path / "colours.yaml")
        assert answers(teacher, clips[:0]).shape == (0, 3)

    def test_onnxruntime_that_has_no_cuda_is_told_of_beside_a_gpu(self, tmp_path, caplog, monkeypatch):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
        mean_colour_onnx(tmp_path / "m.onnx", ("n", 3, 8, 8))
        model = FaceModel("m.onnx", input_px=8)
        load_onnx(tmp_path / "m.onnx", model, CPU)
        assert caplog.text == ""
        load_onnx(tmp_path / "m.onnx", model, torch.device("cuda"))
        assert "install onnxruntime-gpu" in caplog.text

    @pytest.mark.parametrize(
        ("extra", "expected"),
        [
            ("channels: bgr\n", [0.2, 0.4, 1.0]),
            ("pixel_max: 255\n", [255.0, 102.0, 51.0]),
            ("mean: [0.5, 0.5, 0.2]\nstd: [0.5, 0.1, 0.2]\n", [1.0, -1.0, 0.0]),
        ],
    )
    def test_preprocessing_is_as_described(self, tmp_path, extra, expected):
        plain = "".join(line for line in PLAIN.splitlines(True) if line[:4] not in extra)
        found = answers(load_face(tmp_path, plain + extra), coloured_clips((255, 102, 51)))
        np.testing.assert_allclose(found[0], softmax(np.array(expected)), atol=1e-5)

    def test_fixed_batch_last_channel_and_probabilities(self, tmp_path):
        mean_colour_onnx(tmp_path / "m.onnx", (1, 8, 8, 3), softmax=True, layout="nhwc")
        text = PLAIN + "layout: nhwc\noutput: probabilities\n"
        found = answers(load_face(tmp_path, text), coloured_clips((255, 0, 0)))
        np.testing.assert_allclose(found[0], softmax(np.array([1.0, 0, 0])), atol=1e-5)

    def test_a_softmax_that_is_declared_as_logits_is_noticed(self, tmp_path):
        mean_colour_onnx(tmp_path / "m.onnx", ("n", 3, 8, 8), softmax=True)
        with pytest.raises(UserError, match=r"add up to 1 already.*output: probabilities"):
            load_face(tmp_path, PLAIN)

    def test_a_real_classifier_of_faces(self, yunet_home):
        described = yunet_home / "face_expression/teacher_face_faceapi.yaml"
        if not described.is_file():
            pytest.skip(f"no face classifier at {described}: set DEEPFACE_HOME to the folder of weights")
        teacher = face.load("face", face.Options(str(described)), CPU, "float32")
        found = answers(teacher, random_clips(1))
        assert labels(teacher) == ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
        assert found.sum() == pytest.approx(1, abs=1e-5)

    def test_gray(self, tmp_path):
        mean_colour_onnx(tmp_path / "m.onnx", ("n", 1, 8, 8))
        text = "weights: m.onnx\nlabels: [neutral]\ninput_px: 8\nchannels: gray\nmean: [0]\nstd: [1]\n"
        assert answers(load_face(tmp_path, text), coloured_clips((9, 9, 9))).tolist() == [[1.0]]

    @pytest.mark.numerics
    def test_scaling_keeps_the_mean_of_fine_patterns(self, tmp_path):
        clips = coloured_clips((0, 0, 0))
        clips[:, :, ::2, :, 0] = 255  # lines that pixel picking would see all or nothing of
        found = answers(load_face(tmp_path, PLAIN), clips)
        np.testing.assert_allclose(found[0], softmax(np.array([0.5, 0, 0])), atol=5e-3)

    @pytest.mark.numerics
    def test_an_image_classifier_of_transformers_with_its_own_labels(self, tmp_path):
        network = self.image_classifier(tmp_path, dict(enumerate(("Angry", "Happy", "Sad"))))
        clips = random_clips(2)
        teacher = load_face(tmp_path, "weights: model\ninput_px: 224\n", batch_size=1)
        assert labels(teacher) == LABELS
        frames = torch.from_numpy(clips).flatten(0, 1).permute(0, 3, 1, 2) / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        with torch.inference_mode():
            logits = network((frames - mean.view(3, 1, 1)) / std.view(3, 1, 1)).logits
        expected = logits.softmax(dim=1).view(2, 16, 3).mean(dim=1)
        np.testing.assert_allclose(answers(teacher, clips), expected, atol=1e-5)

    def test_labels_given_in_several_places_must_agree(self, tmp_path):
        self.image_classifier(tmp_path, dict(enumerate(("Angry", "Happy", "Sad"))))
        with pytest.raises(UserError, match="has the labels angry, happy, sad, but you gave sad, happy, angry"):
            load_face(tmp_path, "weights: model\nlabels: [sad, happy, angry]\n")
        with pytest.raises(UserError, match="has the labels angry, happy, sad, but you gave a, b, c"):
            load_face(tmp_path, "weights: model\n", labels=("a", "b", "c"))

    def test_stand_in_labels_are_no_labels(self, tmp_path):
        self.image_classifier(tmp_path, {i: f"LABEL_{i}" for i in range(3)})
        with pytest.raises(UserError, match="3 outputs and no names for them"):
            load_face(tmp_path, "weights: model\n")
        named = load_face(tmp_path, "weights: model\nlabels: [a, b, c]\n")
        assert labels(named) == ("a", "b", "c")

    def test_a_model_without_its_classifier_is_an_error_not_a_random_one(self, tmp_path):
        backbone = self.image_classifier(tmp_path, dict(enumerate(LABELS))).base_model
        backbone.config.architectures = ["ResNetModel"]
        backbone.save_pretrained(tmp_path / "model")
        with pytest.raises(UserError, match="lacks weights of its own classifier: classifier"):
            load_face(tmp_path, "weights: model\n")

    def test_a_model_of_several_labels_at_once_is_refused(self, tmp_path):
        network = self.image_classifier(tmp_path, dict(enumerate(LABELS)))
        network.config.problem_type = "multi_label_classification"
        network.save_pretrained(tmp_path / "model")
        with pytest.raises(UserError, match="several labels at once"):
            load_face(tmp_path, "weights: model\n")

    @staticmethod
    def image_classifier(tmp_path: Path, id2label: dict[int, str]):
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", id2label=id2label)
        network = AutoModelForImageClassification.from_config(config).eval()
        network.save_pretrained(tmp_path / "model")
        return network

    def test_a_folder_in_place_of_the_description_names_those_in_it(self, tmp_path):
        (tmp_path / "emotions.yaml").write_text(PLAIN)
        with pytest.raises(UserError, match=r"is a folder: give the YAML file in it\. .* there: emotions\.yaml\."):
            face.load("face", face.Options(weights=str(tmp_path)), CPU, "float32")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "give the fields"),
            ("- a\n", "give the fields"),
            ("weights: [\n", "does not describe"),
            ("labels: [a]\n", "weights"),
            (PLAIN + "sise: 3\n", "sise"),
            (PLAIN.replace("input_px: 8", "input_px: big"), "input_px"),
            (PLAIN + "channels: cmyk\n", "cmyk"),
            (PLAIN + "channels: gray\n", "mean and std need 1 number"),
            (PLAIN.replace("std: [1, 1, 1]", "std: [1, 0, 1]"), "must be positive"),
            (PLAIN.replace("input_px: 8", "input_px: 9"), "does not take frames as the YAML file describes"),
            (PLAIN + "output: probabilities\n", "don't add up to 1"),
            (PLAIN.replace(", sad]", "]"), "3 outputs, but there are 2 labels"),
            (PLAIN.replace("m.onnx", "none.onnx"), r"none\.onnx does not exist"),
            (PLAIN.replace("m.onnx", "colours.yaml"), "is no ONNX file"),
            (PLAIN.replace("m.onnx", "."), "Can't load an image classifier"),
        ],
    )
    def test_a_wrong_description_is_an_error(self, tmp_path, text, message):
        with pytest.raises(UserError, match=message):
            load_face(tmp_path, text)

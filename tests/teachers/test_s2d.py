"""S2D: parity with figures made by the original, and files that must or must not load."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import s2d_rule
import torch
from torch import nn

from liser_ray.runtime.errors import UserError
from liser_ray.teachers.mobilefacenet import MobileFaceNet, new_mobilefacenet
from liser_ray.teachers.s2d import Fovea, S2DConfig, VideoTransformer, load_s2d, save_s2d
from liser_ray.teachers.weights import Checkpoint, read_checkpoint

TESTS = Path(__file__).resolve().parents[1]
DESIGN = Path(os.environ.get("LISER_TEST_DATA", TESTS.parents[1] / "shared" / "data")).parent / "design" / "s2d"
MINI = S2DConfig(embed_dim=96, depth=3, heads=4, frames=4)
LABELS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]

# Absolute, float32 on a CPU; another order of operations costs about 1e-6 (logits) and 3e-5 (blocks).
TOLERANCE = 1e-4
BLOCK_TOLERANCE = 5e-4
TOLERANCES = {"block_out_cls": BLOCK_TOLERANCE, "block_out_stats": BLOCK_TOLERANCE}


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])


@pytest.fixture(autouse=True)
def _no_tf32(monkeypatch):
    """PyTorch's "float32" on a GPU has convolutions in it by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def figures(
    config: S2DConfig, clips: np.ndarray, device: str, scale: Callable[[str], float] = lambda key: 1.0
) -> dict[str, np.ndarray]:
    """The figures that golden.npz has of a case, by the networks under test filled by the rule."""
    landmarks = filled(MobileFaceNet, "landmark.").to(device)
    transformer = filled(lambda: VideoTransformer(config)).to(device)
    with torch.no_grad():
        for key, tensor in transformer.state_dict().items():
            tensor.mul_(scale(key))
    seen: dict[str, list[torch.Tensor]] = {}

    def watch(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _args, out: seen.setdefault(name, []).append(out))

    watch("patch_embed", transformer.patch_embed)
    watch("landmark_tokens", transformer.patch_embed_prompt)
    for prompter, block in zip(transformer.prompt_blocks, transformer.blocks, strict=True):
        watch("prompt", prompter)
        watch("tma", prompter.TMA)
        watch("block", block)
    watch("ln_post", transformer.ln_post)
    transformer.blocks[0].register_forward_pre_hook(lambda _module, args: seen.update(block_in=[args[0]]))

    pictures = torch.from_numpy(clips).transpose(1, 2).to(device)
    with torch.inference_mode():
        features = landmarks(pictures.flatten(0, 1))
        # S2D stops before these layers, which show that the network is the published one.
        points = landmarks.output_layer(landmarks.conv_6_sep(landmarks.conv_5(landmarks.conv_45(features))))
        logits, feature = transformer(pictures, features)
    prompts = [out[0] for out in seen["prompt"]]
    patches = seen["patch_embed"][0].flatten(2).transpose(1, 2)
    tokens = seen["landmark_tokens"][0]
    values = {
        "logits": logits,
        "feature": feature,
        "landmark_feat_mean": features.mean((2, 3)),
        "landmark_feat_first": features[0],
        "landmark_points": points,
        "patch_embed_stats": stats(patches),
        "patch_embed_corner": patches[:2, :3, :8],
        "landmark_tokens_stats": stats(tokens),
        "landmark_tokens_corner": tokens[:2, :3, :8],
        "prompt_out_stats": torch.stack([stats(out) for out in prompts]),
        "tma_out_stats": torch.stack([stats(out) for out in seen["tma"]]),
        "prompt0_out_first": prompts[0][0],
        "tma0_out_first": seen["tma"][0][0],
        "block0_in_first": seen["block_in"][0][0],
        "block0_out_first": seen["block"][0][0],
        "block_out_stats": torch.stack([stats(out) for out in seen["block"]]),
        "block_out_cls": torch.stack([out[:, 0] for out in seen["block"]]),
        "ln_post_cls": seen["ln_post"][0],
    }
    return {name: tensor.cpu().numpy() for name, tensor in values.items()}


def stats(x: torch.Tensor) -> torch.Tensor:
    x = x.double()
    return torch.stack([x.mean(), x.std(correction=0), x.abs().max()])


def filled(make: Callable[[], nn.Module], prefix: str = "") -> nn.Module:
    with torch.device("meta"):
        network = make()
    network.load_state_dict(s2d_rule.state_for(network, prefix), strict=True, assign=True)
    return network.eval().requires_grad_(False)


def compare(golden: np.lib.npyio.NpzFile, case: str, found: dict[str, np.ndarray]) -> None:
    """Fails where the largest difference of a figure that the file has of the case is too large."""
    differences = {
        name: float(np.abs(found[name] - golden[f"{case}_{name}"]).max())
        for name in found
        if f"{case}_{name}" in golden.files
    }
    assert {"logits", "feature", "block_out_cls"} <= differences.keys()
    too_far = {name: d for name, d in differences.items() if not d < TOLERANCES.get(name, TOLERANCE)}
    assert not too_far


@pytest.fixture(scope="module")
def golden() -> np.lib.npyio.NpzFile:
    return np.load(TESTS / "data" / "s2d_mini_golden.npz")


@pytest.fixture(scope="module")
def full_golden() -> np.lib.npyio.NpzFile:
    if not (DESIGN / "golden.npz").is_file():
        pytest.skip(f"no full-size parity figures at {DESIGN}: set LISER_TEST_DATA")
    return np.load(DESIGN / "golden.npz")


def test_the_rule_makes_the_values_that_the_figures_were_made_with(golden):
    with torch.device("meta"):
        states = {"landmark.": MobileFaceNet().state_dict(), "": VideoTransformer(S2DConfig()).state_dict()}
    for key, first in zip(golden["check_keys"], golden["check_first4"], strict=True):
        prefix = "landmark." if key.startswith("landmark.") else ""
        bare = key.removeprefix("landmark.")
        values = s2d_rule.tensor_for(bare, tuple(states[prefix][bare].shape), prefix).ravel()[:4]
        assert np.array_equal(values, first[: len(values)])
    assert np.array_equal(s2d_rule.smooth_clips().ravel()[:8], golden["check_smooth_first8"])
    assert np.array_equal(s2d_rule.noise_clips().ravel()[:8], golden["check_noise_first8"])


@pytest.mark.numerics
@DEVICES
@pytest.mark.parametrize(("case", "scale"), [("mini_smooth", lambda key: 1.0), ("mini_eps", s2d_rule.fine_scale)])
def test_parity_mini(golden, case, scale, device):
    compare(golden, case, figures(MINI, s2d_rule.smooth_clips(frames=4), device, scale))


@pytest.mark.slow
@pytest.mark.numerics
@DEVICES
def test_parity_full_size(full_golden, device):
    compare(full_golden, "smooth", figures(S2DConfig(), s2d_rule.smooth_clips(), device))


@pytest.mark.parametrize(
    ("make", "n_keys", "digest"),
    [
        (lambda: VideoTransformer(S2DConfig()), 419, "961e376e366ec8af"),
        (lambda: VideoTransformer(MINI), 113, "cbb6b14d901d9846"),
        (MobileFaceNet, 333, "a72b0886f0c852dc"),
    ],
)
def test_keys_and_shapes_are_the_published_ones_in_their_order(make, n_keys, digest):
    with torch.device("meta"):
        state = make().state_dict()
    keys = json.dumps([[key, list(tensor.shape)] for key, tensor in state.items()])
    assert len(state) == n_keys
    assert hashlib.sha256(keys.encode()).hexdigest()[:16] == digest


@pytest.mark.numerics
def test_a_fovea_of_zero_sharpness_weighs_by_the_values_themselves():
    fovea, x = Fovea(), torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fovea.smooth.zero_()
        assert torch.equal(fovea(x), x.softmax(dim=1) * x)


def test_clips_of_another_length_are_refused():
    with pytest.raises(ValueError, match="Clips of 3 frames, but this network takes 4"):
        VideoTransformer(MINI)(torch.zeros(1, 3, 3, 224, 224), torch.zeros(3, 128, 14, 14))


def test_it_can_be_trained():
    network = VideoTransformer(MINI)
    logits, _ = network(torch.randn(1, 4, 3, 224, 224), torch.randn(4, 128, 14, 14))
    logits.square().sum().backward()
    without = {key for key, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {"prompt_norms.2.weight", "prompt_norms.2.bias"}  # the last norm serves nobody


def test_a_saved_network_loads_equal_with_its_labels_and_heads(tmp_path):
    network = VideoTransformer(MINI)
    save_s2d(tmp_path / "mini.safetensors", network, LABELS)
    checkpoint = read_checkpoint(tmp_path / "mini.safetensors")
    loaded = load_s2d(checkpoint)
    assert loaded.config == MINI
    assert json.loads(checkpoint.metadata["labels"]) == LABELS
    assert not loaded.training
    torch.testing.assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match="6 labels for 7 outputs"):
        save_s2d(tmp_path / "mini.safetensors", network, LABELS[:6])


def test_sizes_follow_from_the_shapes_where_they_tell_them():
    config = S2DConfig(embed_dim=128, depth=2, heads=2, frames=8, num_classes=11)
    assert load_s2d(Checkpoint(Path("wide.pth"), VideoTransformer(config).state_dict())).config == config
    with pytest.raises(UserError, match="don't tell their number of attention heads"):
        load_s2d(Checkpoint(Path("mini.pth"), VideoTransformer(MINI).state_dict()))


def test_another_networks_file_is_an_error_that_names_the_keys():
    with pytest.raises(UserError) as caught:
        load_s2d(Checkpoint(Path("landmark.pth"), new_mobilefacenet(seed=0).state_dict()))
    message = str(caught.value)
    assert message.startswith("landmark.pth is no checkpoint of S2D's video transformer. Its keys differ:")
    assert "419 missing: cls_token, pos_embed, " in message
    assert "and 409 more" in message
    assert "333 not expected: conv1.conv.weight, " in message


def test_one_missing_tensor_is_an_error_not_a_random_layer():
    state = dict(VideoTransformer(MINI).state_dict())
    del state["head.fc_cls.bias"]
    with pytest.raises(UserError, match=r"1 missing: head\.fc_cls\.bias$"):
        load_s2d(Checkpoint(Path("mini.safetensors"), state, {"heads": "4"}))


def test_pretraining_on_pictures_is_named_for_what_it_is():
    state = {"norm.weight": torch.zeros(768), "cls_token": torch.zeros(1, 1, 768)}
    with pytest.raises(UserError, match="pre-training on single pictures"):
        load_s2d(Checkpoint(Path("pretrain.pth"), state))

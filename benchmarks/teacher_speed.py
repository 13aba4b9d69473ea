"""How near the teachers come to what the machine's matrix products can do, by precision and batch, and what that costs.

`python benchmarks/teacher_speed.py` on one CPU thread, `--device cuda` on a GPU. Prints the tables and writes
benchmarks/results/teacher_speed_DEVICE.md and .json; `--quick` tries the script out with networks of one layer.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when the libraries below are imported

import numpy as np
import torch
from machine import describe, write_json, write_whole
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertForSequenceClassification

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.teachers.mobilefacenet import MobileFaceNet
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer
from liser_ray.teachers.s2d_teacher import FERV39K_LABELS, s2d_forward, s2d_teacher
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_inputs import RawSound
from liser_ray.teachers.speech_models import SpeechModel
from liser_ray.training.precision import Precision, able_precision, mixed

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import s2d_rule

RESULTS = Path(__file__).parent / "results"
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "cpu": ("float32", "bfloat16"),
    "cuda": ("float32", "bfloat16", "float16"),
}
VIDEO_BATCHES = {"cpu": (1, 2, 4), "cuda": (4, 8, 16, 32, 64)}
BATCHES_AT_ONCE = {"cpu": 1, "cuda": 6}
SPEECH_BATCHES = {"cpu": (1, 8, 32, 64), "cuda": (16, 64, 256, 1024)}
PRODUCT = (3152, 768, 3072)
"""Rows, inner and outer width of the product that tells the peak: a ViT-B's widest, on the tokens of one window."""

VIDEO, SPEECH = "S2D", "HuBERT base"


@dataclass(frozen=True)
class Speed:
    """One teacher in one precision and batch.

    Attributes:
        teacher, precision, batch: which.
        windows_per_s: of 16 pictures, or of 0.5 s of sound.
        tflops: 10^12 operations of its matrix products and convolutions per second.
        peak_share: of what a single product of that precision does in the same run.
    """

    teacher: str
    precision: Precision
    batch: int
    windows_per_s: float
    tflops: float
    peak_share: float


def seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The least of several runs after one to warm up: CPU time on a CPU (on one thread), wall time on a GPU."""
    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    found = []
    for _ in range(repeats + 1):
        if on_gpu:
            torch.cuda.synchronize()
        start = clock()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        found.append(clock() - start)
    return min(found[1:])


def measure_peak(precision: Precision, device: torch.device) -> float:
    """FLOP/s of one large product of matrices, which no network can be above."""
    rows, inner, outer = PRODUCT
    rows *= 16 if device.type == "cuda" else 1
    dtype = getattr(torch, precision)
    a, b = torch.randn(rows, inner, device=device).to(dtype), torch.randn(outer, inner, device=device).to(dtype)
    repeats = 20  # in one call, or a GPU would be measured waiting for the next one

    def products() -> None:
        for _ in range(repeats):
            torch.nn.functional.linear(a, b)

    with torch.inference_mode():
        return repeats * 2 * rows * inner * outer / seconds(products, device, 5)


def windows_of_a_call(windows: np.ndarray, batch: int, device: torch.device) -> list[np.ndarray]:
    """One batch on a CPU; on a GPU several, as in the job, so that a batch is copied while the last one is computed."""
    return [windows[k % len(windows)] for k in range(batch * BATCHES_AT_ONCE[device.type])]


def flops_of(call: Callable[[], object]) -> float:
    """Operations of a call's products and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return float(counter.get_total_flops())


def video_flops(config: S2DConfig) -> float:
    """Of one window, on tensors without values."""
    with torch.device("meta"):
        clip = torch.zeros(1, config.frames, 224, 224, 3, dtype=torch.uint8)
        networks = VideoTransformer(config).eval(), MobileFaceNet().eval()
    return flops_of(lambda: s2d_forward(*networks, clip))


def golden_networks(config: S2DConfig) -> tuple[VideoTransformer, MobileFaceNet]:
    """The networks with the weights that the parity figures were made with."""
    with torch.device("meta"):
        transformer, landmarks = VideoTransformer(config), MobileFaceNet()
    transformer.load_state_dict(s2d_rule.state_for(transformer), assign=True)
    landmarks.load_state_dict(s2d_rule.state_for(landmarks, "landmark."), assign=True)
    return transformer.eval(), landmarks.eval()


@torch.inference_mode()
def golden_softmax(networks: tuple[VideoTransformer, MobileFaceNet], clips: np.ndarray, precision: Precision) -> Tensor:
    """What they say of golden clips (float32 [B, 3, T, 224, 224], normalised): [B, K]."""
    transformer, landmarks = networks
    device = transformer.cls_token.device
    frames = torch.from_numpy(clips).to(device).transpose(1, 2).contiguous()  # [B, T, 3, 224, 224]
    with mixed(device, precision):
        logits, _ = transformer(frames, landmarks(frames.flatten(0, 1)))
    return logits.float().softmax(dim=1).cpu()


def measure_video(
    config: S2DConfig, peaks: dict[Precision, float], device: torch.device, batches: Sequence[int]
) -> tuple[list[Speed], dict[Precision, float]]:
    """Speeds, and how far a precision's softmax is from float32's at most on the golden clips."""
    transformer, landmarks = golden_networks(config)
    networks = transformer.to(device), landmarks.to(device)
    flops = video_flops(config)
    clips = np.random.default_rng(0).integers(0, 256, (max(batches), config.frames, 224, 224, 3), dtype=np.uint8)
    golden = np.concatenate([s2d_rule.smooth_clips(config.frames), s2d_rule.noise_clips(config.frames)])
    speeds, changes = [], {}
    exact = golden_softmax(networks, golden, "float32")
    for precision in peaks:
        changes[precision] = float((golden_softmax(networks, golden, precision) - exact).abs().max())
        for batch in batches:
            teacher = s2d_teacher("s2d", *copy.deepcopy(networks), FERV39K_LABELS, "", device, precision, batch)
            called = windows_of_a_call(clips, batch, device)
            taken = seconds(lambda teacher=teacher, called=called: teacher(called), device, 2)
            rate = len(called) / taken
            speeds.append(Speed(VIDEO, precision, batch, rate, rate * flops / 1e12, rate * flops / peaks[precision]))
    return speeds, changes


def measure_speech(
    layers: int, peaks: dict[Precision, float], device: torch.device, batches: Sequence[int]
) -> tuple[list[Speed], dict[Precision, float]]:
    """As `measure_video`; weights are random, windows too."""
    torch.manual_seed(0)
    n_samples = round(WINDOW_S * SAMPLE_RATE_HZ)
    model = HubertForSequenceClassification(HubertConfig(num_hidden_layers=layers, num_labels=4)).eval()
    flops = flops_of(lambda: model(torch.zeros(1, n_samples)))
    model.to(device)
    windows = np.random.default_rng(0).normal(0, 0.1, (max(batches), n_samples)).astype(np.float32)
    speech = SpeechModel("hubert", ("neutral", "happy", "sad", "angry"), "", model, RawSound(normalised=True))
    speeds, changes, exact = [], {}, None
    for precision in peaks:
        for batch in batches:
            teacher = SpeechTeacher("hubert", [speech], device, precision, batch)
            called = windows_of_a_call(windows, batch, device)
            taken = seconds(lambda teacher=teacher, called=called: teacher(called), device, 3)
            rate = len(called) / taken
            speeds.append(Speed(SPEECH, precision, batch, rate, rate * flops / 1e12, rate * flops / peaks[precision]))
        softmax = teacher(windows)["hubert"].values
        exact = softmax if exact is None else exact
        changes[precision] = float(np.abs(softmax - exact).max())
    return speeds, changes


def table(speeds: Sequence[Speed], changes: dict[str, dict[Precision, float]]) -> str:
    """A line for each teacher, precision and batch."""
    lines = [
        "| teacher | precision | batch | windows/s | TFLOP/s | share of the peak | largest change of a softmax |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in speeds:
        change = changes[one.teacher][one.precision]
        lines.append(
            f"| {one.teacher} | {one.precision} | {one.batch} | {one.windows_per_s:.3g} | {one.tflops:.3g} | "
            f"{one.peak_share:.0%} | {f'{change:.1e}' if one.precision != 'float32' else '–'} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="try the script out; the figures mean nothing")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this machine has no GPU that PyTorch can use: leave --device out")
    device = torch.device(options.device)
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # or "float32" would not be what its peak is measured with
    wished = PRECISIONS[options.device]
    able = [precision for precision in wished if able_precision(device, precision) == precision]
    peaks: dict[Precision, float] = {precision: measure_peak(precision, device) for precision in able}
    layers = 1 if options.quick else 12
    video_batches = VIDEO_BATCHES[options.device][: 1 if options.quick else None]
    speech_batches = SPEECH_BATCHES[options.device][: 1 if options.quick else None]
    video, video_changes = measure_video(S2DConfig(depth=layers), peaks, device, video_batches)
    speech, speech_changes = measure_speech(layers, peaks, device, speech_batches)
    rows = table([*video, *speech], {VIDEO: video_changes, SPEECH: speech_changes})
    print(rows)
    if options.quick:
        return
    command = " ".join(["python benchmarks/teacher_speed.py", *arguments])
    machine = describe(("torch", "transformers"))
    peak_text = ", ".join(f"{precision} {peak / 1e12:.3g} TFLOP/s" for precision, peak in peaks.items())
    text = f"""# The teachers' speed on {"a GPU" if device.type == "cuda" else "one CPU thread"}

Made by `{command}`.

{rows}

Machine: {machine}

- Measured peak, one product of {" x ".join(map(str, PRODUCT))} after the other: {peak_text}.
- A window of S2D is 16 pictures ({video_flops(S2DConfig()) / 1e12:.3f} TFLOP, its landmark network included), of HuBERT
  0.5 s. From uint8 pictures and samples in memory to softmaxes in memory; the least of several runs, {
        "wall" if device.type == "cuda" else "CPU"
    } time.
- S2D has the weights of the parity figures, and the change of its softmax is that on both golden cases. HuBERT's
  weights and windows are random.
- Precisions for which the device has no instructions are left out: a teacher would answer in float32.
"""
    write_whole(RESULTS / f"teacher_speed_{options.device}.md", text)
    found = {f"matrix product, {precision}": (peak / 1e12, "TFLOP/s") for precision, peak in peaks.items()}
    for one in [*video, *speech]:
        name = f"{one.teacher}, {one.precision}, batch {one.batch}"
        found[name] = one.windows_per_s, "windows/s"
        found[f"{name}, share of the product's speed"] = one.peak_share, "1"
    write_json(RESULTS / f"teacher_speed_{options.device}.json", command, machine, found)


if __name__ == "__main__":
    main(sys.argv[1:])

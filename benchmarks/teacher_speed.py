"""How near the teachers come to what the machine's matrix products can do, by precision and batch, and what that costs.

`python benchmarks/teacher_speed.py` on one CPU thread, `--device cuda` on a GPU. Prints the tables and writes
benchmarks/results/teacher_speed_DEVICE.md and .json; `--compile` measures what torch.compile adds (bfloat16, the job's
batches); `--quick` tries the script out with networks of one layer. Weights are random unless LISER_S2D (two files with
a comma between: S2D and its landmark network) or LISER_HUBERT (a folder) name trained ones.
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
from machine import HUBERT_WEIGHTS, S2D_WEIGHTS, add_writing, describe, results_folder, write_json, write_whole
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertForSequenceClassification

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.media.yuv import CROP_PX, PACKED_ROWS
from liser_ray.teachers.clips import CPU_BATCH, GPU_BATCH
from liser_ray.teachers.kinds.speech import WINDOW_S
from liser_ray.teachers.kinds.speech import Options as SpeechOptions
from liser_ray.teachers.mobilefacenet import MobileFaceNet, load_mobilefacenet
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer, load_s2d
from liser_ray.teachers.s2d_teacher import FERV39K_LABELS, s2d_forward, s2d_teacher
from liser_ray.teachers.speech import SpeechTeacher
from liser_ray.teachers.speech_inputs import RawSound
from liser_ray.teachers.speech_models import SpeechModel, load_models
from liser_ray.teachers.weights import read_checkpoint
from liser_ray.training.precision import Precision, able_precision, mixed

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import s2d_rule

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "cpu": ("float32", "bfloat16"),
    "cuda": ("float32", "bfloat16", "float16"),
}
VIDEO_BATCHES = {"cpu": (1, 2, 4), "cuda": (4, 16, 64)}
BATCHES_AT_ONCE = {"cpu": 1, "cuda": 6}
SPEECH_BATCHES = {"cpu": (1, 8, 32, 64), "cuda": (16, 64, 256, 1024)}
JOB_BATCHES = {"cpu": (CPU_BATCH, SpeechOptions.batch_size), "cuda": (GPU_BATCH, SpeechOptions.batch_size)}
"""Windows per forward pass of the video and the speech teacher, where a labeling job's settings leave it open."""
PRODUCT = {"cpu": (3152, 768, 3072), "cuda": (16 * 3152, 768, 3072)}
"""Rows, inner and outer width of the product that tells the peak: a ViT-B's widest, on the tokens of 1 window or 16."""

N_COMPARED = 64

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
    rows, inner, outer = PRODUCT[device.type]
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


def video_networks(config: S2DConfig) -> tuple[VideoTransformer, MobileFaceNet]:
    """The networks with trained weights if they are given, else with those that the parity figures were made with."""
    if given := os.environ.get(S2D_WEIGHTS):
        video, points = map(Path, given.split(","))
        return load_s2d(read_checkpoint(video)).eval(), load_mobilefacenet(points).eval()
    with torch.device("meta"):
        transformer, landmarks = VideoTransformer(config), MobileFaceNet()
    transformer.load_state_dict(s2d_rule.state_for(transformer), assign=True)
    landmarks.load_state_dict(s2d_rule.state_for(landmarks, "landmark."), assign=True)
    return transformer.eval(), landmarks.eval()


def speech_model(layers: int) -> SpeechModel:
    """HuBERT with trained weights if they are given, else of so many layers with random ones; on the CPU."""
    if given := os.environ.get(HUBERT_WEIGHTS):
        (model,) = load_models({"hubert": given}, torch.device("cpu"))
        return model
    torch.manual_seed(0)
    network = HubertForSequenceClassification(HubertConfig(num_hidden_layers=layers, num_labels=4)).eval()
    return SpeechModel("hubert", ("neutral", "happy", "sad", "angry"), "", network, RawSound(normalised=True))


def compile_all(networks: Sequence[torch.nn.Module], backend: str) -> None:
    """Have them compiled by a backend of torch.compile when they are first called, for that batch alone."""
    for network in networks:
        network.compile(dynamic=False, backend=backend)


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
    config: S2DConfig,
    peaks: dict[Precision, float],
    device: torch.device,
    batches: Sequence[int],
    backend: str | None = None,
) -> tuple[list[Speed], dict[Precision, float]]:
    """Speeds, and how far a precision's softmax is at most from that of float32 on a CPU on the golden clips.

    The softmaxes are of the networks as they are, since for the golden clips' batch they would be compiled once more.
    """
    transformer, landmarks = video_networks(config)
    config = transformer.config
    flops = video_flops(config)
    clips = np.random.default_rng(0).integers(0, 256, (max(batches), config.frames, PACKED_ROWS, CROP_PX), np.uint8)
    clips[:, :, -1] = 0  # colours of one kind
    golden = np.concatenate([s2d_rule.smooth_clips(config.frames), s2d_rule.noise_clips(config.frames)])
    speeds, changes = [], {}
    exact = golden_softmax((transformer, landmarks), golden, "float32")
    networks = transformer.to(device), landmarks.to(device)
    for precision in peaks:
        changes[precision] = float((golden_softmax(networks, golden, precision) - exact).abs().max())
        for batch in batches:
            asked = copy.deepcopy(networks)
            if backend:
                compile_all(asked, backend)
            teacher = s2d_teacher("s2d", *asked, FERV39K_LABELS, "", device, precision, batch)
            called = windows_of_a_call(clips, batch, device)
            taken = seconds(lambda teacher=teacher, called=called: teacher(called), device, 2)
            rate = len(called) / taken
            speeds.append(Speed(VIDEO, precision, batch, rate, rate * flops / 1e12, rate * flops / peaks[precision]))
    return speeds, changes


def measure_speech(
    layers: int,
    peaks: dict[Precision, float],
    device: torch.device,
    batches: Sequence[int],
    backend: str | None = None,
) -> tuple[list[Speed], dict[Precision, float]]:
    """As `measure_video`; windows are random, of which the first few are compared."""
    speech = speech_model(layers)
    n_samples = round(WINDOW_S * SAMPLE_RATE_HZ)
    flops = flops_of(lambda: speech.network(torch.zeros(1, n_samples)))
    windows = np.random.default_rng(0).normal(0, 0.1, (max(batches), n_samples)).astype(np.float32)
    compared = windows[:N_COMPARED]
    exact = SpeechTeacher("hubert", [speech], torch.device("cpu"), "float32")(compared)["hubert"].values
    speech.network.to(device)
    if backend:
        compile_all([speech.network], backend)
    speeds, changes = [], {}
    for precision in peaks:
        for batch in batches:
            teacher = SpeechTeacher("hubert", [speech], device, precision, batch)
            called = windows_of_a_call(windows, batch, device)
            taken = seconds(lambda teacher=teacher, called=called: teacher(called), device, 3)
            rate = len(called) / taken
            speeds.append(Speed(SPEECH, precision, batch, rate, rate * flops / 1e12, rate * flops / peaks[precision]))
        changes[precision] = float(np.abs(teacher(compared)["hubert"].values - exact).max())
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
            f"{one.peak_share:.0%} | {f'{change:.1e}' if change else '–'} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="through torch.compile: bfloat16, batches of the job")
    add_writing(parser)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this machine has no GPU that PyTorch can use: leave --device out")
    device = torch.device(options.device)
    torch.set_num_threads(1 if device.type == "cpu" else os.cpu_count() or 1)
    torch.backends.cudnn.allow_tf32 = False  # or "float32" would not be what its peak is measured with
    wished: Sequence[Precision] = PRECISIONS[options.device]
    if options.compile:
        wished = (able_precision(device, "bfloat16"),)
    able = [precision for precision in wished if able_precision(device, precision) == precision]
    peaks: dict[Precision, float] = {precision: measure_peak(precision, device) for precision in able}
    layers = 1 if options.quick else 12
    video_batches = VIDEO_BATCHES[options.device][: 1 if options.quick else None]
    speech_batches = SPEECH_BATCHES[options.device][: 1 if options.quick else None]
    if options.compile:
        video_batches, speech_batches = ((batch,) for batch in JOB_BATCHES[options.device])
    # A quick run only traces the networks: kernels take minutes to compile on a slow core.
    backend = None if not options.compile else "aot_eager" if options.quick else "inductor"
    video, video_changes = measure_video(S2DConfig(depth=layers), peaks, device, video_batches, backend)
    speech, speech_changes = measure_speech(layers, peaks, device, speech_batches, backend)
    changes = {VIDEO: video_changes, SPEECH: speech_changes}
    rows = table([*video, *speech], changes)
    print(rows)
    folder = results_folder(options)
    if folder is None:
        return
    command = " ".join(["python benchmarks/teacher_speed.py", *arguments])
    machine = describe(("torch", "transformers"))
    peak_text = ", ".join(f"{precision} {peak / 1e12:.3g} TFLOP/s" for precision, peak in peaks.items())
    text = f"""# The teachers' speed on {"a GPU" if device.type == "cuda" else "one CPU thread"}{
        f", through torch.compile ({backend})" if backend else ""
    }

Made by `{command}`.

{rows}

Machine: {machine}

- Measured peak, one product of {" x ".join(map(str, PRODUCT[options.device]))} after the other: {peak_text}.
- A window of S2D is 16 pictures ({video_flops(S2DConfig()) / 1e12:.3f} TFLOP, its landmark network included), of HuBERT
  0.5 s. From packed pictures (YUV) and samples in memory to softmaxes in memory; the least of several runs, {
        "wall" if device.type == "cuda" else "CPU"
    } time.
- Changes of a softmax are against float32 on a CPU: S2D's on both golden cases{
        ", not compiled" if backend else ""
    }, HuBERT's on {N_COMPARED} random
  windows.
- Weights: S2D's are {os.environ.get(S2D_WEIGHTS, "those of the parity figures")}, HuBERT's {
        os.environ.get(HUBERT_WEIGHTS, "random")
    }.
- Precisions for which the device has no instructions are left out: a teacher would answer in float32.
"""
    stem = f"teacher_speed_{options.device}{'_compiled' if options.compile else ''}"
    write_whole(folder / f"{stem}.md", text)
    found = {f"matrix product, {precision}": (peak / 1e12, "TFLOP/s") for precision, peak in peaks.items()}
    for one in [*video, *speech]:
        name = f"{one.teacher}, {one.precision}, batch {one.batch}"
        found[name] = one.windows_per_s, "windows/s"
        found[f"{name}, operations"] = one.tflops, "TFLOP/s"
        found[f"{name}, share of the product's speed"] = one.peak_share, "1"
    for name, by_precision in changes.items():
        for precision, change in by_precision.items():
            found[f"{name}, {precision}, largest change of a softmax against float32 on a CPU"] = change, "1"
    write_json(folder / f"{stem}.json", command, machine, found)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Micro-batches on their way to the device and softmaxes on their way back."""

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from joblib import cpu_count
from torch import Tensor

from liser_ray.media import yuv
from liser_ray.runtime.errors import UserError

_MOST_APART = 8  # batches at a time on a CPU; each of S2D's takes 200 to 250 MB beside the weights

Windows = np.ndarray | Sequence[np.ndarray]
"""What teachers are asked about: an array [N, ...] (of text N strings), or N arrays of one shape and type, which are
copied only once."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def choose_device(has_gpu: bool = False) -> str:
    """``cuda`` where Ray gave this process a GPU, else ``cpu``, with all its cores (an actor of Ray would use one).

    Raises:
        UserError: Ray gave it a GPU (``has_gpu``) and it can't use it: a CPU must not take its place in silence.
    """
    if has_gpu and torch.cuda.is_available():  # Ray hides no GPU from those that it gave none
        return "cuda"
    if has_gpu:
        raise UserError(
            f"A worker on {socket.gethostname()} was given a GPU, and PyTorch can't use it: look at that machine's "
            "driver (nvidia-smi), or take the machine out of the cluster. The same command then goes on where it was."
        )
    torch.set_num_threads(cpu_count())
    return "cpu"


def without_gaps(packed: Tensor) -> Tensor:
    """Packed clips uint8 [N, T, 337, 224], where no face was, with the last picture before it, else the first after it.

    What is not packed stays. A picture without a face is 0 throughout, its colours' number too.
    """
    if packed.shape[2:] != (yuv.PACKED_ROWS, yuv.CROP_PX):
        return packed
    shown = packed[:, :, -1, 0] > 0
    before = torch.where(shown, torch.arange(packed.shape[1], device=packed.device), -1).cummax(dim=1).values
    cells = torch.where(before < 0, shown.int().argmax(dim=1, keepdim=True), before)
    return packed[torch.arange(len(packed), device=packed.device)[:, None], cells]


def on_device(windows: Windows, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Slices of ``batch_size`` rows on the device, in order; with a GPU the next one is copied during the work on this.

    The caller must not wait for the GPU between two batches, or nothing overlaps.

    Windows may be of any number type, read-only and of any strides; the last slice may be shorter.
    """
    if not len(windows):
        return
    on_gpu = device.type == "cuda"
    shape, dtype = windows[0].shape, torch.from_numpy(np.empty(0, windows[0].dtype)).dtype
    copying = torch.cuda.Stream(device) if on_gpu else None

    def send(start: int) -> Tensor:
        rows = windows[start : start + batch_size]
        # Page-locked, since only from there a copy runs beside the computation. PyTorch's host allocator keeps the
        # buffer until the copy is over, and then uses it again.
        staged = torch.empty((len(rows), *shape), dtype=dtype, pin_memory=on_gpu)
        np.stack(list(rows), out=staged.numpy())
        with torch.cuda.stream(copying):  # None: nothing changes
            return staged.to(device, non_blocking=True)

    upcoming = send(0)
    for start in range(batch_size, len(windows) + batch_size, batch_size):
        batch = upcoming
        if copying is not None:
            computing = torch.cuda.current_stream(device)
            computing.wait_stream(copying)
            batch.record_stream(computing)  # or its memory could be given to a later copy while it is still read
        yield batch
        # Only now: the caller has queued its work on `batch`, which runs while this one is staged and copied.
        if start < len(windows):
            upcoming = send(start)


def answers(
    network: Callable[[Tensor], Tensor], windows: Windows, batch_size: int, device: torch.device
) -> list[Tensor]:
    """What a network says of each batch, in order.

    On a CPU as many batches at a time as PyTorch has threads, up to eight: threads that share a batch wait for one
    another after each product, and on a busy machine for longer. What is left over at the end shares them all.
    The network takes a batch on the device, and is called in several threads at once.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    apart = min(threads, _MOST_APART)
    n_apart = len(windows) // (apart * batch_size) * (apart * batch_size) if apart > 1 else 0

    def answer(start: int) -> Tensor:
        torch.set_num_threads(threads // apart)
        (batch,) = on_device(windows[start : start + batch_size], batch_size, device)
        return network(batch)

    found = []
    if n_apart:
        try:
            with ThreadPoolExecutor(apart) as pool:
                found = list(pool.map(answer, range(0, n_apart, batch_size)))
        finally:
            torch.set_num_threads(threads)  # some of PyTorch's libraries have one number for the whole process
    return found + [network(batch) for batch in on_device(windows[n_apart:], batch_size, device)]


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread: what is made of many small steps is slower with more, and much so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def as_rgb(clips: Tensor) -> Tensor:
    """Clips as the media stage packs them, uint8 [N, T, 337, 224] (`liser_ray.media.yuv`), as RGB, on their device.

    Clips that are RGB already stay as they are.

    Returns:
        uint8 [N, T, 224, 224, 3], within 1 of the exact figure (2 on a CPU, where OpenCV takes a fifth of the time).
    """
    if clips.shape[2:] != (yuv.PACKED_ROWS, yuv.CROP_PX) or clips.dtype != torch.uint8:
        return clips
    packed = clips.flatten(0, 1)
    if clips.device.type == "cpu":
        rgb = torch.empty((len(packed), yuv.CROP_PX, yuv.CROP_PX, 3), dtype=torch.uint8)
        for picture, to in zip(packed.numpy(), rgb.numpy(), strict=True):
            yuv.rgb(picture, to=to)
        return rgb.unflatten(0, clips.shape[:2])
    return converted(packed).unflatten(0, clips.shape[:2])


def converted(packed: Tensor) -> Tensor:
    """Packed pictures uint8 [N, 337, 224] as RGB, uint8 [N, 224, 224, 3], by PyTorch."""
    to_rgb = torch.from_numpy(yuv.TO_RGB).to(packed.device)[packed[:, -1, 0].long()][..., None, None]
    halves = packed[:, yuv.CROP_PX : -1].reshape(-1, 2, yuv.CROP_PX // 2, yuv.CROP_PX // 2).float()
    u, v = F.interpolate(halves, scale_factor=2, mode="bilinear").split(1, dim=1)
    y = packed[:, None, : yuv.CROP_PX].float()
    # No product of matrices, which a GPU may round.
    exact = to_rgb[:, :, 0] * y + to_rgb[:, :, 1] * u + to_rgb[:, :, 2] * v + to_rgb[:, :, 3]
    return exact.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def pictures(clips: Tensor) -> Tensor:
    """uint8 [N, T, H, W, 3] as uint8 [N * T, 3, H, W], in the same memory order (channels last)."""
    return clips.flatten(0, 1).permute(0, 3, 1, 2)


def standardise(
    frames: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    pixel_max: float = 1.0,
) -> Tensor:
    """(frames · pixel_max / 255 - mean) / std per channel, float32 [N, C, H, W] of pictures in 0..255 of any type.

    In one pass over the memory, which is all that it costs.
    """
    means, stds = (torch.tensor(of, device=frames.device)[:, None, None] for of in (mean, std))
    return torch.addcmul(-means / stds, frames, pixel_max / 255 / stds)

"""Weights and clips that the S2D parity figures were made with: every value follows from a tensor's name or a seed.

A state dict's entry is standard normal noise, seeded by the CRC-32 of its key, brought to a scale by its role.
"""

import math
import zlib

import numpy as np
import torch
from torch import nn

EMBEDDINGS = {"cls_token", "pos_embed", "temporal_embedding"}
FRAME = (224, 224)


def tensor_for(key: str, shape: tuple[int, ...], prefix: str = "") -> np.ndarray:
    """float32 [shape]; the prefix only goes into the seed."""
    seed = zlib.crc32((prefix + key).encode())
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(math.prod(shape)).reshape(shape)
    name = key.rpartition(".")[2]
    vector = len(shape) == 1
    if name == "running_mean":
        values = 0.1 * noise
    elif name == "running_var":
        values = np.abs(1 + 0.1 * noise)
    elif key.endswith("fovea.smooth"):
        values = 10 + noise
    elif key in EMBEDDINGS:
        values = 0.2 * noise
    elif vector and name == "weight":
        values = (0.25 if key.endswith("prelu.weight") else 1.0) + 0.1 * noise
    elif vector and name == "bias":
        values = 0.1 * noise
    else:
        gain = 2.0 if key.endswith("attn.qkv.weight") else 1.0
        values = noise * (gain / np.sqrt(math.prod(shape[1:])))
    return values.astype(np.float32)


def state_for(network: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """A state dict for the network (which may be on the meta device); integer buffers are 0."""
    return {
        key: torch.from_numpy(tensor_for(key, tuple(tensor.shape), prefix))
        if tensor.is_floating_point()
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for key, tensor in network.state_dict().items()
    }


def fine_scale(key: str) -> float:
    """What case ``mini_eps`` multiplies a tensor by: small activations, on which the layer norms' epsilon shows."""
    if ".T_Adapter.D_fc2." in key:
        return 0.01
    return 0.005 if key.startswith(("patch_embed.proj.", "patch_embed_prompt.proj.")) else 1.0


def noise_clips(frames: int = 16) -> np.ndarray:
    """White noise, float32 [2, 3, frames, 224, 224]."""
    return np.random.Generator(np.random.PCG64(0)).standard_normal((2, 3, frames, *FRAME)).astype(np.float32)


def smooth_clips(frames: int = 16) -> np.ndarray:
    """Cells of 32 x 32 pixels and a quarter as much fine noise, float32 [2, 3, frames, 224, 224]."""
    rng = np.random.Generator(np.random.PCG64(1))
    cells = rng.standard_normal((2, 3, frames, 7, 7))
    fine = rng.standard_normal((2, 3, frames, *FRAME))
    return (np.kron(cells, np.ones((32, 32))) + 0.25 * fine).astype(np.float32)

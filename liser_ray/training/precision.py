"""Arithmetic of networks, in training and in use. Nothing here takes time to import."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""Of matrix products and convolutions (autocast). "auto" is bfloat16 where the device has instructions for it. On a GPU
PyTorch's "float32" has convolutions in TF32, with 10 bits of mantissa."""


def able_precision(device: "torch.device", wished: Precision) -> Precision:
    """The wished arithmetic where the device has instructions for it, else float32; never "auto".

    On a CPU that is bfloat16 with AVX512_BF16 or AMX (two to three times as fast as float32, see benchmarks); elsewhere
    it would be emulated, and float16 always is. Students that were trained in it are as good (docs/student.md).
    """
    import torch

    wished = "bfloat16" if wished == "auto" else wished
    if device.type == "cuda":
        emulated = torch.version.hip is None and torch.cuda.get_device_capability(device)[0] < 8
        return "float32" if wished == "bfloat16" and emulated else wished
    able = torch.cpu.get_capabilities()
    return wished if wished == "bfloat16" and (able.get("avx512_bf16") or able.get("amx_bf16")) else "float32"


def mixed(device: "torch.device", wished: Precision) -> AbstractContextManager:
    """PyTorch's autocast in `able_precision`; float32 changes nothing."""
    import torch

    precision = able_precision(device, wished)
    enabled = precision != "float32"
    return torch.autocast(device.type, dtype=getattr(torch, precision) if enabled else None, enabled=enabled)


def widened(tensor: "torch.Tensor") -> "torch.Tensor":
    """Float32 of half precision, in which losses are not computed; what is wider stays."""
    import torch

    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

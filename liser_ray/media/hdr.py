"""Pictures of high dynamic range, as phones record them, as ordinary ones: what face detectors and teachers know.

By their transfer function (PQ or HLG, ITU-R BT.2100) light is made of code values, of that light in the primaries of
BT.709, and of that code values again. White is 203 cd/m2 (ITU-R BT.2408), as it is to those who make HDR of ordinary
pictures; what is brighter is compressed, so that a forehead in the sun keeps its shape. Light is 1 where it is white.
"""

from functools import cache

import av
import numpy as np

_PQ, _HLG = 16, 18  # FFmpeg's AVColorTransferCharacteristic
_NAMES = {_PQ: "PQ", _HLG: "HLG"}

_WHITE = 203.0
_HLG_PEAK = 1000.0
_KNEE = 0.75  # share of white above which light is compressed
_TOP = 4.0  # of white; brighter is as bright
_GAMMA = 2.4  # ITU-R BT.1886
_STEPS = 4096

# Red, green, blue and white in CIE x, y, by FFmpeg's AVColorPrimaries.
_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),  # BT.709
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI-P3, here with the white of Display P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
_UNTOLD = 9  # what BT.2100 asks for
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_LUMINANCE_709 = np.array([0.2126, 0.7152, 0.0722], np.float32)


def is_hdr(picture: av.VideoFrame) -> bool:
    """Whether the picture's numbers are not those of an ordinary one."""
    return picture.color_trc in _NAMES


def name(picture: av.VideoFrame) -> str:
    """Of the transfer function."""
    return _NAMES[picture.color_trc]


def to_sdr(rgb: np.ndarray, picture: av.VideoFrame, pixel_format: str) -> np.ndarray:
    """An ordinary picture, uint8 [height, width, 3] for rgb24, [height, width] for gray.

    Args:
        rgb: uint16 [height, width, 3], code values in full range.
        picture: whose colours they are.
    """
    light = _light(picture.color_trc)[rgb]  # float32, 1 is white
    if picture.color_trc == _HLG:  # of the scene: a display shows it with more contrast
        light *= np.power(light @ _LUMINANCE_2020, 0.2)[..., None] * np.float32(_HLG_PEAK / _WHITE)
    light = light @ _to_709(picture.color_primaries).T
    codes = _codes()[(np.sqrt(np.clip(light / _TOP, 0, 1)) * (_STEPS - 1)).astype(np.int32)]
    return codes if pixel_format == "rgb24" else (codes @ _LUMINANCE_709).round().astype(np.uint8)


@cache
def _light(transfer: int) -> np.ndarray:
    """Of each code value of 16 bits, float32: PQ: light, 1 is white; HLG: light of the scene, 0..1."""
    code = np.arange(65536) / 65535
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = code ** (1 / m2)
    return (10_000 / _WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)).astype(np.float32)


@cache
def _codes() -> np.ndarray:
    """Of light from 0 to `_TOP`, uint8, in `_STEPS` steps of its square root: an eye sees more steps in the dark."""
    light = _TOP * np.linspace(0, 1, _STEPS) ** 2
    over = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    shown = np.where(light < _KNEE, light, _KNEE + (1 - _KNEE) * (1 - np.exp(-over)))
    return np.round(255 * shown ** (1 / _GAMMA)).astype(np.uint8)


@cache
def _to_709(primaries: int) -> np.ndarray:
    """From light in these primaries to light in those of BT.709, float32 [3, 3]."""
    own = _PRIMARIES.get(primaries, _PRIMARIES[_UNTOLD])
    return (np.linalg.inv(_to_xyz(_PRIMARIES[1])) @ _to_xyz(own)).astype(np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    def xyz(x: float, y: float) -> list[float]:
        return [x / y, 1.0, (1 - x - y) / y]

    columns = np.array([xyz(*one) for one in primaries]).T
    return columns * np.linalg.solve(columns, xyz(*_D65))

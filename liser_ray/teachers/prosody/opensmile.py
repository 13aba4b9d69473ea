"""The same 25 descriptors as openSMILE computes them (eGeMAPSv02), for those whom its licence allows to use it."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liser_ray.media.audio import SAMPLE_RATE_HZ
from liser_ray.runtime.errors import UserError
from liser_ray.teachers.prosody.descriptors import NAMES

_F0 = NAMES.index("f0_semitones")
_OF_VOICE = [NAMES.index(name) for name in NAMES if name.endswith("_amplitude_db")]


def describe_by_opensmile(sound: Tensor) -> Tensor:
    """The descriptors of sound float32 [n], 16 kHz, -1..1, on its device: float32 [25, T] in the order of `NAMES`.

    As openSMILE has them, also in its own units, but that formants' amplitudes are 0 in place of -201 where there is no
    voice, and all are in what is too short for it.

    Raises:
        UserError: it is not installed.
    """
    found = _extractor().process_signal(sound.cpu().numpy(), SAMPLE_RATE_HZ).to_numpy(np.float32).T
    values = torch.from_numpy(np.nan_to_num(found))
    values[_OF_VOICE] = values[_OF_VOICE].where(values[_F0] > 0, 0.0)
    return values.to(sound.device)


@cache
def _extractor() -> Any:  # noqa: ANN401 (of a package that may not be there)
    try:
        import opensmile
    except ImportError as error:
        raise UserError(
            "Descriptors by openSMILE need its package: pip install 'liser-ray[opensmile]', if its licence "
            "(non-commercial) allows you to. Or leave --descriptors out."
        ) from error
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)

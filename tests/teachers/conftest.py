"""Faces of real people, as the media stage cuts them out, and real weights of what looks at them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from liser_ray.media.span import MediaConfig, Needs, prepare_span
from liser_ray.teachers.batches import as_rgb


@pytest.fixture(scope="session")
def real_clips(test_data: Path, yunet_home: Path) -> np.ndarray:
    """Somebody in a studio says a sentence of six words, from the front: RGB, uint8 [5, 16, 224, 224, 3]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_HOME", str(yunet_home))
        media = prepare_span(
            str(test_data / "talking_heads/grid_sbwe5n.mpg"), 0.0, 2.98, MediaConfig(min_speech_fraction=0), Needs()
        )
    assert media.problem is None
    return as_rgb(torch.from_numpy(media.clips)).numpy()

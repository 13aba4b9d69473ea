"""Sound cut into the windows that teachers hear. Nothing here takes time to import."""

import numpy as np

from liser_ray.media.audio import SAMPLE_RATE_HZ


def sound_windows(
    pcm: np.ndarray, window_s: float, hop_s: float, hears_s: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a span's sound into windows, and give what is heard for each.

    Args:
        pcm: int16 [samples], 16 kHz mono.
        window_s: length of a window in seconds.
        hop_s: from the start of one to that of the next.
        hears_s: seconds around a window's middle that are heard for it; 0, or less than the window: the window itself.

    Returns:
        What is heard, float32 [W, n], -1..1, and where each window starts, float32 [W], in seconds from the first
        sample. Full windows only, so up to a hop at the end has none; sound shorter than a window gives one, and no
        sound none. What would reach over an end of the sound is moved inward, and where there is less sound than is
        heard, zeros follow it.
    """
    n_window, n_hop, n_hears = (round(seconds * SAMPLE_RATE_HZ) for seconds in (window_s, hop_s, hears_s))
    n_hears = max(n_window, n_hears)
    n_windows = 1 + max(0, len(pcm) - n_window) // n_hop if len(pcm) else 0
    starts = np.arange(n_windows) * n_hop
    heard = np.pad(pcm, (0, max(0, n_hears - len(pcm)))).astype(np.float32) / 32768
    first = (starts - (n_hears - n_window) // 2).clip(0, len(heard) - n_hears)
    windows = np.lib.stride_tricks.sliding_window_view(heard, n_hears)[first]
    return windows, starts.astype(np.float32) / np.float32(SAMPLE_RATE_HZ)

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from liser_ray.student.features import (
    BandNormalisation,
    BandStatistics,
    LogMel,
    corpus_statistics,
    evaluation_windows,
    fit_length,
    mixup,
    recording_statistics,
    spec_augment,
)
from liser_ray.student.front_end import (
    MIN_BAND_STD,
    POWER_FLOOR,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    frame_count,
    window_count,
)

LOG_MEL = LogMel()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def of_corpus(statistics):
    normalisation = BandNormalisation("corpus")
    normalisation.set_corpus(statistics)
    return normalisation


class TestLogMel:
    @pytest.mark.parametrize("strides", [1, 2, 8, 9, 30])
    @pytest.mark.parametrize("n_windows", [1, 2, 40])
    def test_windows_together_are_each_alone(self, strides, n_windows):
        step = strides * 1600
        samples = noise(SEGMENT_SAMPLES + (n_windows - 1) * step)
        alone = torch.cat([LOG_MEL(window[None]) for window in samples.unfold(0, SEGMENT_SAMPLES, step)])
        torch.testing.assert_close(LOG_MEL.of_windows(samples, step), alone, rtol=0, atol=2e-4)

    @pytest.mark.parametrize(("n_samples", "n_frames"), [(30_000, 59), (48_000, SEGMENT_FRAMES)])
    def test_it_is_torchaudios(self, n_samples, n_frames):
        mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=2048, hop_length=512, n_mels=64)
        waveform = noise(2, n_samples)
        log_mel = LOG_MEL(waveform)
        assert log_mel.shape == (2, 64, n_frames)
        assert frame_count(n_samples) == n_frames
        torch.testing.assert_close(log_mel, mel(waveform).clamp(min=POWER_FLOOR).log(), rtol=0, atol=1e-4)

    def test_tone_is_in_the_band_of_its_frequency(self):
        """HTK Mel bands: 2595 · log10(1 + f / 700), 64 triangles between 0 and 8 kHz."""
        time_s = torch.arange(48_000) / 16_000

        def mel(hz):
            return 2595 * np.log10(1 + hz / 700)

        for hz in (300, 1000, 4000):
            loudest = LOG_MEL(torch.sin(2 * torch.pi * hz * time_s)[None])[0, :, 40].argmax().item()
            assert loudest == pytest.approx(mel(hz) / mel(8000) * 65 - 1, abs=0.6)

    def test_twice_as_loud_is_4_times_the_power(self):
        waveform = noise(1, 48_000)
        torch.testing.assert_close(
            LOG_MEL(2 * waveform) - LOG_MEL(waveform), torch.full((1, 64, 94), np.log(4)).float()
        )

    def test_silence_is_at_the_floor_and_rounding_to_16_bits_about_there(self):
        log_mel = LOG_MEL(torch.zeros(1, 48_000))
        torch.testing.assert_close(log_mel, torch.full((1, 64, 94), float(np.log(POWER_FLOOR))))
        rounding = torch.rand(1, 48_000, generator=torch.Generator().manual_seed(0)) / 32768 - 0.5 / 32768
        above = LOG_MEL(rounding) - np.log(POWER_FLOOR)
        assert above.mean() < 1
        assert above.max() < 3

    def test_sound_stands_before_its_padding(self):
        waveform = noise(16_000)
        padded = LOG_MEL(fit_length(waveform)[None])[0]
        longer = LOG_MEL(torch.cat([waveform, noise(40_000, seed=1)])[None])[0]
        whole = (16_000 - 1024) // 512  # frames whose window ends before the padding begins
        torch.testing.assert_close(padded[:, :whole], longer[:, :whole])
        assert torch.all(padded[:, 34:] == torch.tensor(POWER_FLOOR).log())

    def test_half_precision_around_it_changes_nothing(self):
        waveform = noise(1, 48_000)
        with torch.autocast("cpu", torch.bfloat16):
            inside = LOG_MEL(waveform)
        assert torch.equal(inside, LOG_MEL(waveform))


@given(st.integers(1, 64_000))
def test_evaluation_has_full_windows_every_tenth_of_a_second(n_samples):
    """Of a waveform whose samples are 1, 2, 3 ... so that each tells its place, and zeros are padding."""
    waveform = torch.arange(1, n_samples + 1)
    padded = torch.cat([waveform, torch.zeros(max(0, SEGMENT_SAMPLES - n_samples), dtype=torch.int64)])
    assert torch.equal(fit_length(waveform), padded)
    found = evaluation_windows(waveform)
    assert len(found) == window_count(n_samples) == max(0, n_samples - 48_000) // 1600 + 1
    for k, window in enumerate(found):
        assert torch.equal(window, padded[1600 * k : 1600 * k + 48_000])


class TestNormalisation:
    def test_utterance_gives_each_band_of_each_recording_mean_0_and_deviation_1(self):
        """However loud it is; the mean alone keeps what is loud and soft."""
        log_mel = LOG_MEL(noise(1, 48_000) * torch.tensor([[1.0], [0.1]]))
        statistics = recording_statistics(log_mel, torch.tensor([94, 94]))
        normal = BandNormalisation("utterance")(log_mel, statistics)
        torch.testing.assert_close(normal.mean(dim=2), torch.zeros(2, 64), atol=1e-4, rtol=0)
        torch.testing.assert_close(normal.std(dim=2, unbiased=False), torch.ones(2, 64))
        torch.testing.assert_close(normal[0], normal[1], atol=1e-3, rtol=0)
        centred = BandNormalisation("utterance-mean")(log_mel, statistics)
        torch.testing.assert_close(centred.mean(dim=2), torch.zeros(2, 64), atol=1e-4, rtol=0)
        torch.testing.assert_close(centred.std(dim=2), log_mel.std(dim=2))

    def test_padding_is_no_part_of_a_recordings_statistics(self):
        log_mel = noise(2, 64, 94)
        log_mel[0, :, 40:] = -100
        found = recording_statistics(log_mel, torch.tensor([40, 94]))
        for row, sound in enumerate((log_mel[0, :, :40], log_mel[1])):
            torch.testing.assert_close(found.mean[row], sound.mean(dim=1, keepdim=True))
            torch.testing.assert_close(found.std[row], sound.std(dim=1, unbiased=False, keepdim=True))

    def test_statistics_go_on_with_what_follows(self):
        log_mel = noise(2, 64, 94) * 3 - 8
        whole = recording_statistics(log_mel, torch.tensor([94, 94]))
        first = recording_statistics(log_mel[..., :30], torch.tensor([30, 30]))
        found = recording_statistics(log_mel[..., 30:], torch.tensor([64, 64]), first)
        for one, expected in zip(found, whole, strict=True):
            torch.testing.assert_close(one, expected)

    def test_silence_stays_finite(self):
        silence = LOG_MEL(torch.zeros(1, 48_000))
        normal = BandNormalisation("utterance")(silence, recording_statistics(silence, torch.tensor([94])))
        assert normal.abs().max() < 1e-5 / MIN_BAND_STD
        assert torch.isfinite(of_corpus(corpus_statistics(silence))(silence)).all()

    def test_utterance_without_statistics_is_refused(self):
        with pytest.raises(ValueError, match="statistics"):
            BandNormalisation("utterance")(noise(1, 64, 94))

    def test_corpus_is_that_of_all_frames_together(self):
        recordings = [noise(64, n, seed=n) * 3 - 8 for n in (20, 94, 300)]
        together = torch.cat(recordings, dim=1)
        found = corpus_statistics(iter(recordings))
        torch.testing.assert_close(found.mean, together.mean(dim=1, keepdim=True))
        torch.testing.assert_close(found.std, together.std(dim=1, unbiased=False, keepdim=True))
        normal = of_corpus(found)(recordings[0][None])
        torch.testing.assert_close(normal[0], (recordings[0] - found.mean) / found.std)

    def test_corpus_statistics_travel_with_the_weights(self):
        fitted = of_corpus(BandStatistics(torch.full((64, 1), -5.0), torch.full((64, 1), 2.0)))
        loaded = BandNormalisation("corpus")
        log_mel = noise(1, 64, 94)
        assert loaded(log_mel).isnan().all()
        loaded.load_state_dict(fitted.state_dict())
        assert torch.equal(loaded(log_mel), (log_mel + 5) / 2)

    @pytest.mark.parametrize("recordings", [[], [torch.zeros(64, 0)]])
    def test_nothing_can_not_be_fitted_to(self, recordings):
        with pytest.raises(ValueError, match="No frames"):
            corpus_statistics(recordings)


class TestSpecAugment:
    def test_hidden_stripes_have_the_mean_and_the_rest_is_untouched(self):
        log_mel = noise(20, 64, 94) - 6
        before = log_mel.clone()
        masked, again = (spec_augment(log_mel, np.random.default_rng(0), 1, 8, 1, 10) for _ in range(2))
        assert torch.equal(masked, again)  # by the seed
        assert torch.equal(log_mel, before)
        hidden = masked != log_mel
        mean = log_mel.mean(dim=(1, 2))
        for row in range(20):
            assert torch.all(masked[row][hidden[row]] == mean[row])
            bands, frames = hidden[row].all(dim=1), hidden[row].all(dim=0)
            assert torch.equal(hidden[row], bands[:, None] | frames[None, :])
            assert bands.sum() <= 8
            assert frames.sum() <= 10
            for mask in (bands, frames):  # one stripe, without a gap
                assert mask.int().diff().abs().sum() <= 2

    def test_every_width_and_both_edges_occur(self):
        masked = spec_augment(
            torch.arange(8 * 5.0).view(1, 8, 5).expand(2000, -1, -1), np.random.default_rng(0), 1, 3, 0, 0
        )
        hidden = (masked == 19.5).all(dim=2)
        shares = hidden.sum(dim=1).bincount() / 2000
        torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.04, rtol=0)
        assert hidden.any(dim=0).all()

    @pytest.mark.parametrize("sizes", [(0, 8, 0, 10), (2, 0, 2, 0)])
    def test_no_masks_and_no_width_change_nothing(self, sizes):
        log_mel = noise(3, 64, 94)
        assert torch.equal(spec_augment(log_mel, np.random.default_rng(0), *sizes), log_mel)


@given(st.integers(1, 12), st.floats(0.1, 5), st.integers(0, 99))
@settings(max_examples=40)
def test_mixup_mixes_labels_as_the_inputs(n, alpha, seed):
    """Inputs that hold their own label's softmax must come out equal to the mixed target."""
    truth = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, n))
    inputs = torch.nn.functional.one_hot(truth, 4).float()
    mixed, targets = mixup(inputs[:, :, None].repeat(1, 1, 3), truth, 4, alpha, np.random.default_rng(seed))
    torch.testing.assert_close(mixed, targets[:, :, None].repeat(1, 1, 3))
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(n))
    assert targets.min() >= 0

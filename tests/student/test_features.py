import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st

from liser_ray.student.features import (
    BandNormalisation,
    BandStatistics,
    LogMel,
    corpus_statistics,
    evaluation_windows,
    recording_statistics,
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
        padded = LOG_MEL(LOG_MEL.fit_length(waveform)[None])[0]
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
    assert torch.equal(LOG_MEL.fit_length(waveform), padded)
    found = evaluation_windows(padded)
    assert len(found) == window_count(n_samples) == max(0, n_samples - 48_000) // 1600 + 1
    for k, window in enumerate(found):
        assert torch.equal(window, padded[1600 * k : 1600 * k + 48_000])


class TestNormalisation:
    def test_utterance_gives_each_band_of_each_recording_mean_0_and_deviation_1(self):
        """However loud it is; the mean alone keeps what is loud and soft."""
        log_mel = LOG_MEL(noise(1, 48_000) * torch.tensor([[1.0], [0.1]]))
        statistics = recording_statistics(log_mel, torch.tensor([94, 94]), "utterance")
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
        found = recording_statistics(log_mel, torch.tensor([40, 94]), "utterance")
        for row, sound in enumerate((log_mel[0, :, :40], log_mel[1])):
            torch.testing.assert_close(found.mean[row], sound.mean(dim=1, keepdim=True))
            torch.testing.assert_close(found.std[row], sound.std(dim=1, unbiased=False, keepdim=True))

    @pytest.mark.parametrize("kind", ["utterance", "speech"])
    def test_statistics_go_on_with_what_follows(self, kind):
        log_mel = noise(2, 64, 94) * 3 - 8
        whole = recording_statistics(log_mel, torch.tensor([94, 94]), kind)
        first = recording_statistics(log_mel[..., :30], torch.tensor([30, 30]), kind)
        found = recording_statistics(log_mel[..., 30:], torch.tensor([64, 64]), kind, first)
        for one, expected in zip(found, whole, strict=True):
            torch.testing.assert_close(one, expected)

    @pytest.mark.numerics
    @pytest.mark.parametrize("gain_db", [-60, -20, 20])
    def test_speech_is_the_same_at_any_loudness_and_with_any_silence(self, gain_db):
        """Silence around it: zeros, as many as there is sound; the frames of the sound see little of them."""
        mel, normalise = LogMel("speech"), BandNormalisation("speech")

        def heard(waveform):
            log_mel = mel(waveform)
            return normalise(log_mel, recording_statistics(log_mel, torch.tensor([log_mel.shape[2]]), "speech"))

        sound = noise(1, 60_000) * torch.linspace(0.01, 1, 60_000)
        torch.testing.assert_close(heard(sound * 10 ** (gain_db / 20)), heard(sound), atol=2e-3, rtol=0)
        with_silence = torch.nn.functional.pad(sound, (30 * 512, 30 * 512))
        torch.testing.assert_close(heard(with_silence)[..., 35:140], heard(sound)[..., 5:110], atol=0.05, rtol=0)
        least = mel(with_silence).amin() - recording_statistics(mel(sound), torch.tensor([118]), "speech").mean.amax()
        assert least < -60 * np.log(10) / 10  # and what is less than that counts as that
        assert heard(with_silence).amin() > -60 * np.log(10) / 10 - 1

    def test_what_is_short_is_repeated_forth_and_back(self):
        waveform = torch.arange(20_000.0)
        padded = LogMel("speech").fit_length(waveform)
        assert padded.shape == (48_000,)
        assert torch.equal(padded[:20_000], waveform)
        assert torch.equal(padded[20_000:39_998], waveform[1:-1].flip(0))
        assert torch.equal(padded[39_998:], waveform[: 48_000 - 39_998])

    def test_silence_stays_finite(self):
        silence = LOG_MEL(torch.zeros(1, 48_000))
        normal = BandNormalisation("utterance")(silence, recording_statistics(silence, torch.tensor([94]), "utterance"))
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

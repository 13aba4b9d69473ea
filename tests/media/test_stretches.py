"""Where the clock of a stream jumps, from the times of its packets alone."""

from liser_ray.media.stretches import Stamp, find_stretches

PICTURES, SOUND = 0, 1


def stamps(clock_s, length_s=5.0, lag_s=0.0, at_byte=0):
    """Packets of pictures (a key frame every second) and sound, which lies so much later in the file."""
    pictures = [(k / 25, PICTURES, k % 25 == 0) for k in range(round(length_s * 25))]
    sound = [(k / 40 + lag_s, SOUND, True) for k in range(round(length_s * 40))]
    for n, (time_s, track, is_key) in enumerate(sorted(pictures + sound)):
        start_s = clock_s + time_s - (lag_s if track == SOUND else 0)
        yield Stamp(
            track, start_s, start_s, start_s + (0.04 if track == PICTURES else 0.025), at_byte + 100 * n, is_key
        )


def lengths_s(found):
    return [round(one.end_s - one.start_s, 3) for one in found]


def test_a_clock_that_goes_on_is_one_stretch_with_places_to_seek_to():
    (found,) = find_stretches(stamps(90_000.0, 10), PICTURES)
    assert (found.start_s, round(found.end_s - found.start_s, 3)) == (90_000.0, 10)
    assert len(found.seek_points) == 10
    assert found.seek_points == sorted(found.seek_points)


def test_sound_that_a_jump_left_behind_stays_with_its_pictures():
    """A recorder's pause: the last sound from before lies behind the first pictures from after."""
    before, after = list(stamps(0.0, lag_s=0.5)), list(stamps(0.7, lag_s=0.5, at_byte=48_000))
    for one in (before, after):
        one.sort(key=lambda stamp: stamp.byte)
    cut = next(n for n, stamp in enumerate(before) if stamp.track == SOUND and stamp.start_s > 4.8)
    late = [stamp for stamp in before[cut:] if stamp.track == SOUND]
    mixed = [stamp for stamp in before if stamp not in late]
    mixed += [stamp for pair in zip(after, late, strict=False) for stamp in pair] + after[len(late) :]
    placed = [Stamp(s.track, s.order_s, s.start_s, s.end_s, 100 * n, s.is_key) for n, s in enumerate(mixed)]
    first, second = find_stretches(placed, PICTURES)
    assert lengths_s([first, second]) == [5, 5]
    assert first.bytes_of[SOUND][1] > second.bytes_of[PICTURES][0]
    assert first.bytes_of[SOUND][1] < second.bytes_of[SOUND][0]


def test_a_single_wrong_time_ends_nothing():
    damaged = list(stamps(0.0))
    wrong = damaged[100]
    damaged[100] = Stamp(wrong.track, 50_000.0, 50_000.0, 50_000.04, wrong.byte, wrong.is_key)
    assert lengths_s(find_stretches(damaged, PICTURES)) == [5]


def test_a_track_that_comes_late_or_pauses_is_no_jump():
    pictures = [stamp for stamp in stamps(0.0, 30) if stamp.track == PICTURES]
    sound = [
        stamp for stamp in stamps(0.0, 30) if stamp.track == SOUND and (10 < stamp.start_s < 12 or stamp.start_s > 25)
    ]
    both = sorted(pictures + sound, key=lambda stamp: stamp.byte)
    assert lengths_s(find_stretches(both, PICTURES)) == [30]

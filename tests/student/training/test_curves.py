import struct
from io import BytesIO

from matplotlib.image import imread
from tensorboardX.proto.event_pb2 import Event

from liser_ray.student.training.curves import curve_writer, plot_curves
from liser_ray.training.fit import EpochScore


def score(epoch, speech=0.0, uar=0.3):
    terms = {"supervised": 2 / epoch, "speech": speech}
    return EpochScore(epoch, 2 / epoch + speech, terms, {}, None, uar, 1.0)


def written(folder):
    """(tag, step) to value of all event files, as TensorBoard reads them: later ones purge what is taken back."""
    values = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data = BytesIO(path.read_bytes())
        while header := data.read(12):
            event = Event.FromString(data.read(struct.unpack("<Q", header[:8])[0]))
            data.read(4)
            if event.session_log.status:
                values = {key: value for key, value in values.items() if key[1] < event.step}
            values |= {(one.tag, event.step): one.simple_value for one in event.summary.value}
    return values


def test_tensorboard_sees_each_epoch_at_once_and_what_a_new_process_takes_back(tmp_path):
    with curve_writer(str(tmp_path)) as add:
        for epoch in (1, 2, 3):
            add(score(epoch).flat)
            assert ("loss", epoch) in written(tmp_path)
    with curve_writer(str(tmp_path)) as add:
        add(score(2, uar=None).flat)
        found = written(tmp_path)
    assert found["loss", 1] == 2.0
    assert ("loss", 3) not in found
    assert ("validation_uar", 2) not in found


def test_a_picture_of_any_history():
    short = [score(1)], [score(1, 0.1, None), score(2, 0.2, None)]
    for history in (*short, [score(n, 0.1 / n) for n in range(1, 9)], [score(n, 0.1 - n) for n in range(1, 9)]):
        assert imread(BytesIO(plot_curves(history, 1, "sp-dstl")), format="png").shape[:2] == (540, 1350)

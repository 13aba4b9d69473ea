"""Fixtures that every test may use."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import ray
from swift_store import SwiftStore, data_folder

from liser_ray.runtime.cluster import start_ray

_SHARED = Path(__file__).resolve().parents[2] / "shared"


ON_RAY = (
    "tests/jobs/test_tune_lambdas.py::test_a_grid",
    "tests/labeling/test_job.py",
    "tests/labeling/test_kills.py",
    "tests/labeling/test_measure.py::test_measured",
    "tests/labeling/test_parts.py",
    "tests/labeling/test_sound.py",
    "tests/media/test_isolation.py::test_inside_a_ray_actor",
    "tests/runtime/test_quiet.py::test_what_ray_says",
    "tests/search/test_on_ray.py",
    "tests/student/data/test_stream.py",
    "tests/student/training/test_job.py::test_on_ray",
    "tests/finetuning/test_job.py::test_two_workers",
)
"""Files and tests that ask for `ray_session`, and no others: the longest chain of a parallel run."""

NUMERICAL = (
    "tests/labeling/test_teacher_stage.py",
    "tests/prediction/test_onnx.py",
    "tests/prediction/test_pieces.py",
    "tests/prediction/test_stream.py",
    "tests/student/data/test_mels.py",
    "tests/student/test_attributes.py",
    "tests/student/test_features.py",
    "tests/student/test_losses.py",
    "tests/student/test_network.py",
    "tests/student/test_penalty.py",
    "tests/student/training/test_evaluation.py",
    "tests/student/training/test_task.py",
    "tests/student/training/test_two_processes.py",
    "tests/teachers/test_action_units.py",
    "tests/teachers/test_energy.py",
    "tests/teachers/test_face_motion.py",
    "tests/training/test_distillation.py",
    "tests/training/test_fit.py",
)
"""Files of numerical tests throughout, beside those that bear the mark ``numerics`` themselves."""

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("no deadline")


@pytest.hookimpl(optionalhook=True)  # there is none without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In a parallel run, all that is on Ray runs in one process: there is one Ray, and it needs the cores.

    The tests of another file stay together too: what they share is made once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneRay(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if nodeid.startswith(ON_RAY) else nodeid.partition("::")[0]

    return OneRay(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest chain begins first; it is a Ray session of its own, so the order changes nothing."""
    for item in items:
        if item.nodeid.startswith(NUMERICAL):
            item.add_marker("numerics")
        if "ray_session" in getattr(item, "fixturenames", ()) and not item.nodeid.startswith(ON_RAY):
            raise pytest.UsageError(f"{item.nodeid} runs on Ray: add it to ON_RAY in tests/conftest.py")
    items.sort(key=lambda item: not item.nodeid.startswith(ON_RAY))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """PyTorch's threads wait for one another in a loop: on a busy machine two are many times slower than one."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real recordings (talking_heads/, hard_videos/, ravdess/); skips where it is absent."""
    path = Path(os.environ.get("LISER_TEST_DATA", _SHARED / "data"))
    if not (path / "talking_heads").is_dir():
        pytest.skip(f"no real recordings at {path}: set LISER_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def yunet_home(test_data: Path) -> Path:
    """Value for DEEPFACE_HOME with YuNet's weights in it; skips where they are absent."""
    home = Path(os.environ.get("DEEPFACE_HOME", test_data.parent / "weights"))
    if not (home / ".deepface/weights/face_detection_yunet_2023mar.onnx").is_file():
        pytest.skip(f"no YuNet weights below {home}: set DEEPFACE_HOME")
    return home


@pytest.fixture(scope="session")
def landmark_file(yunet_home: Path) -> str:
    """S2D's landmark network; skips where it is absent."""
    return _weights(yunet_home, "mobilefacenet_from_openvino_fp16.pth.tar")


@pytest.fixture(scope="session")
def landmarker_file(yunet_home: Path) -> str:
    """MediaPipe's face landmarker; skips where it is absent, or what runs it."""
    pytest.importorskip(
        "ai_edge_litert", reason="ai-edge-litert is not installed: pip install 'liser-ray[blendshapes]'"
    )
    return _weights(yunet_home, "face_landmarker.task")


def _weights(home: Path, name: str) -> str:
    path = home / "face_landmarks" / name
    if not path.is_file():
        pytest.skip(f"no {path}: set DEEPFACE_HOME to the folder of weights")
    return str(path)


@pytest.fixture(scope="session")
def whisper(test_data: Path) -> Path:
    """The folder of Whisper tiny.en with its pretrained weights; skips where it is absent."""
    folder = Path(os.environ.get("DEEPFACE_HOME", test_data.parent / "weights"), "whisper_tiny_en")
    if not folder.is_dir():
        pytest.skip(f"no Whisper tiny.en at {folder}: set DEEPFACE_HOME to the folder of weights")
    return folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A manifest of tones, see `write_tones`."""
    from tone_files import write_tones  # not above: PyTorch, which the first process of a parallel run can do without

    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def tone_labels(tmp_path_factory: pytest.TempPathFactory, tones: str) -> str:
    """A labels table whose speech teachers were tuned on the tones, see `write_tone_labels`."""
    from tone_files import write_tone_labels

    return write_tone_labels(tmp_path_factory.mktemp("tone_labels"), tones)


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftStore]:
    """A real S3 store on the loopback interface, which boto3 and pyarrow use by themselves while it runs.

    Its keys hold a colon: they go by the environment, never in a URI.
    """
    folder = tmp_path_factory.mktemp("swift")
    data = data_folder(folder)
    if data is None:
        pytest.skip(f"no S3 store: neither {folder} nor /dev/shm takes user xattrs on its files")
    store = SwiftStore(folder, data)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_NO_SIGN_REQUEST", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store
    store.close()


@pytest.fixture(scope="session")
def ray_session(request: pytest.FixtureRequest) -> Iterator[str]:
    """One Ray on this machine for the whole test run; its workers know the S3 store. Gives its address."""
    with contextlib.suppress(pytest.skip.Exception):  # what needs the store or the weights skips by itself
        request.getfixturevalue("s3_store")
    with contextlib.suppress(pytest.skip.Exception):
        os.environ.update(DEEPFACE_HOME=str(request.getfixturevalue("yunet_home")))
    os.environ.update(
        RAY_worker_niceness="0",  # by default its workers wait for everything else on the machine
        RAY_TRAIN_ENABLE_PREEMPTION_WATCHER="0",  # no node is drained here; a process for each training
        PYTHONPATH=f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",  # for `toys`
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")  # not one that a killed test run has left its address of
        start_ray()
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()

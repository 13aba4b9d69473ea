import pytest
from small_students import speech_folder, student_folder  # noqa: F401 (fixtures)

from liser_ray.prediction.student import Student


@pytest.fixture(scope="session")
def student(student_folder) -> Student:  # noqa: F811 (the fixture)
    """In PyTorch."""
    return Student.from_pretrained(student_folder)

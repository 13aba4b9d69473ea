"""The page, by HTTP as a program uses it, and in a real browser."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from liser_ray.commands.demo_app import serve, warning
from liser_ray.prediction.student import Student

gradio = pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def page(student_folder) -> Iterator[str]:
    """The address of the page, served from this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield serve(Student.from_pretrained(student_folder), 0, block=False)
        gradio.close_all()


def test_a_program_gets_the_answer(page, student_folder, speech_folder, tmp_path):
    """On this machine alone; of a recording that can't be used it is an error in words."""
    from gradio_client import Client, exceptions, handle_file

    assert page.startswith("http://127.0.0.1:")
    client = Client(page, verbose=False)
    label, picture, warned = client.predict(handle_file(str(speech_folder / "middle.flac")), api_name="/predict")
    expected = Student.from_pretrained(student_folder).predict_file(str(speech_folder / "middle.flac"))
    assert warned == warning(expected)
    assert label["label"] == expected.label
    assert {one["label"]: one["confidence"] for one in label["confidences"]} == pytest.approx(
        expected.as_dict, abs=1e-3
    )
    assert Path(picture).stat().st_size > 10_000
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    with pytest.raises(exceptions.AppError, match="can't be used: silent"):
        client.predict(handle_file(str(tmp_path / "silent.wav")), api_name="/predict")


def test_sound_that_is_unlike_the_training_is_said(student_folder, speech_folder):
    expected = Student.from_pretrained(student_folder).predict_file(str(speech_folder / "middle.flac"))
    assert warning(replace(expected, unlike=())) == ""
    assert warning(replace(expected, unlike=("it is flat", "it is narrow"))).endswith(": it is flat; it is narrow.")


def test_in_a_browser_a_file_is_uploaded_and_the_answer_read(page, student_folder, speech_folder, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    expected = Student.from_pretrained(student_folder).predict_file(str(speech_folder / "middle.flac"))
    with sync_api.sync_playwright() as playwright:
        sandboxed = [] if os.geteuid() else ["--no-sandbox"]  # Chromium has no sandbox for root
        browser = playwright.chromium.launch(executable_path=chromium, args=sandboxed)
        tab = browser.new_page()
        requests: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(page)
        tab.locator("input[type=file]").first.set_input_files(str(speech_folder / "middle.flac"))
        answer = tab.locator("[data-testid=label-output-value]")
        answer.wait_for(timeout=60_000)
        assert answer.inner_text().strip() == expected.label
        tab.locator("img").first.wait_for(timeout=60_000)
        tab.screenshot(path=os.environ.get("LISER_SCREENSHOT", str(tmp_path / "page.png")), full_page=True)
        browser.close()
    assert [url for url in requests if not url.startswith((page, "data:", "blob:"))] == []  # works offline


def test_a_port_that_is_taken_is_one_message(page, student_folder, command):
    port = page.rstrip("/").rpartition(":")[2]
    code, _, errors = command("demo-app", "--model", student_folder, "--port", port)
    assert code == 2
    assert "name another one with --port" in errors

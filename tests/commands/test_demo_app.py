"""The page, by HTTP as a program uses it, and in a real browser."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_students import ATTRIBUTES, write_student

from liser_ray.commands.demo_app import Listener, serve, warning
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


def test_what_a_microphone_hears_is_drawn_each_half_second_and_forgotten_after_half_a_minute(student_folder):
    student = Student.from_pretrained(student_folder)
    rng = np.random.default_rng(0)
    listener, stream = Listener(student, 16_000), student.stream(16_000)
    expected, drawn_at = [], []
    for tenth in range(350):
        chunk = rng.integers(-9000, 9000, (1600, 2)).astype(np.int16)
        expected += stream.add(chunk.T)
        if listener.hear(chunk):
            drawn_at.append(tenth)
    assert drawn_at == pytest.approx(np.arange(34, 350, 5), abs=1)
    assert [one.end_s for one in listener.estimates] == [one.end_s for one in expected[-300:]]
    assert listener.now == dict(zip(student.labels, expected[-1].probabilities.tolist(), strict=True))


@pytest.fixture(scope="module")
def tab(page, tmp_path_factory) -> Iterator:
    """An empty tab of a browser whose microphone hears noise."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    heard = tmp_path_factory.mktemp("microphone") / "noise.wav"
    soundfile.write(heard, 0.1 * np.random.default_rng(0).standard_normal(160_000), 16_000)
    microphone = ["use-fake-ui-for-media-stream", "use-fake-device-for-media-stream"]
    flags = [*microphone, f"use-file-for-fake-audio-capture={heard}"]
    if not os.geteuid():
        flags.append("no-sandbox")  # Chromium has no sandbox for root
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[f"--{flag}" for flag in flags])
        yield browser.new_page(permissions=["microphone"])
        browser.close()


def test_in_a_browser_a_file_is_uploaded_and_the_answer_read(tab, page, student_folder, speech_folder, tmp_path):
    expected = Student.from_pretrained(student_folder).predict_file(str(speech_folder / "middle.flac"))
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page)
    tab.locator("input[type=file]").first.set_input_files(str(speech_folder / "middle.flac"))
    answer = tab.locator("[data-testid=label-output-value]")
    answer.wait_for(timeout=60_000)
    assert answer.inner_text().strip() == expected.label
    tab.locator("img").first.wait_for(timeout=60_000)
    tab.screenshot(path=os.environ.get("LISER_SCREENSHOT", str(tmp_path / "page.png")), full_page=True)
    assert [url for url in requests if not url.startswith((page, "data:", "blob:"))] == []  # works offline


def test_in_a_browser_answers_come_while_somebody_speaks(tab, page, student_folder):
    sync_api = pytest.importorskip("playwright.sync_api")
    tab.goto(page)
    tab.get_by_role("tab", name="While you speak").click()
    answer = tab.locator("[data-testid=label-output-value]").filter(visible=True)
    for _ in range(6):  # started in the moment in which it is shown, Gradio's recorder (6.31) at times sends nothing
        tab.get_by_role("button", name="Record").click()
        try:
            answer.wait_for(timeout=40_000)
            break
        except sync_api.TimeoutError:
            tab.get_by_role("button", name="Stop").click()
    assert answer.inner_text().strip() in Student.from_pretrained(student_folder).labels
    tab.locator("img[src*='file=']").filter(visible=True).wait_for(timeout=60_000)


def test_a_port_that_can_not_be_had_is_one_message(page, student_folder, command):
    for port in (page.rstrip("/").rpartition(":")[2], 70_000):
        code, _, errors = command("demo-app", "--model", student_folder, "--port", port)
        assert code == 2
        assert f"Port {port} can't be had; name another one with --port" in errors


def test_a_student_without_labels_is_one_message(command, tmp_path):
    folder = write_student(tmp_path / "student", labels=["speech"], attributes=ATTRIBUTES)
    code, _, errors = command("demo-app", "--model", folder)
    assert code == 2
    assert "gives attributes alone" in errors


def test_nothing_that_was_sent_or_drawn_stays_once_it_is_closed(student_folder, speech_folder, tmp_path, monkeypatch):
    """The last test, since it closes every page."""
    from gradio_client import Client, handle_file

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "sent"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    address = serve(Student.from_pretrained(student_folder), 0, block=False)
    client = Client(address, verbose=False, download_files=str(tmp_path / "got"))
    client.predict(handle_file(str(speech_folder / "middle.flac")), api_name="/predict")
    assert {path.suffix for path in (tmp_path / "sent").rglob("*.*")} == {".flac", ".webp"}
    gradio.close_all()
    assert [path for path in (tmp_path / "sent").rglob("*") if path.is_file()] == []

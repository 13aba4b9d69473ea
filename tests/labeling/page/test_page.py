"""What a person finds on the page."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from small_jobs import FACE, SPEECH, lost_row, row, windows, write_job, write_run

from liser_ray.corpora.config import PlanConfig
from liser_ray.labeling.page import page
from liser_ray.labeling.page.faces import FacePicture
from liser_ray.labeling.page.page import make_page
from liser_ray.labeling.planning import hours_text
from liser_ray.labeling.resume import OutputFolders
from liser_ray.labeling.run_card import load_runs
from liser_ray.runtime.errors import UserError
from liser_ray.storage.files import read_bytes
from liser_ray.teachers.targets import NOBODY, Target

SCRIPT = "<script>alert('$x$')</script>"
ENERGY = Target("energy", "scalar", ("loudness",), 3.0, 3.0, "3" * 64, "energy", tuned_on=NOBODY)


def rows(n=40):
    softmaxes = np.random.default_rng(0).dirichlet(np.ones(3), (n, 2, 2))
    return [row(k, softmaxes[k, 0], softmaxes[k, 1]) for k in range(n)]


def html_of(folders, **options) -> str:
    make_page(folders, **options)
    with open(folders.page, encoding="utf-8") as file:
        return file.read()


def text_of(html) -> str:
    """What can be read on the page, words apart by one space."""
    without_style = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", without_style).split())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The page of a job that was interrupted once and ended."""
    folder = tmp_path_factory.mktemp("job")
    folders = write_job(folder, [*rows(), lost_row(50), lost_row(51, "filtered", reason="no_face")])
    write_run(folder, "b", "2026-11-22T12:00:00+00:00", samples=[[50.0, 10, 160.0], [100.0, 20, 320.0]])
    write_run(folder, "a", finished=False, samples=[[100.0, 20, 320.0]])
    return html_of(folders)


def test_hours_runs_stages_and_targets_are_shown_in_order(full):
    text = text_of(full)
    for words in (
        "all 42 spans have their row",
        "given 11.2 min 100 % 42",
        "no_face (media) filtered 0.3 min 2 % 1",
        "corrupt (media) failed 0.3 min 2 % 1",
        "labeled 10.7 min 95 % 40",
        "2026-11-22 10:00 3:20 20 1.6 16 CPU, 1 GPU interrupted",
        "2026-11-22 12:00",
        "media 10 2 1, 0 10.00 25 %",
        "clips 0 2 1, 0 – 25 %",
        f"face s2d distribution happy, sad, fear {'1' * 64}",
        "speech tuned on ravdess, fold 0, heard 2 speakers hubert distribution",
        f"fearful, happy, calm {'2' * 64}",
        "liser-ray",
    ):
        assert words in text
        text = text[text.index(words) :]


def test_every_figure_says_of_how_many_values_it_is(full):
    captions = [text_of(one) for one in re.findall(r"<figcaption>.*?</figcaption>", full, flags=re.DOTALL)]
    assert len(captions) == 8
    assert all(re.search(r"n = \d+", one) for one in captions)
    assert sum("n = 80 windows" in one for one in captions) == 7
    descriptions = re.findall(r'<svg role="img" aria-label="([^"]*)"', full)
    assert len(descriptions) == 8
    assert all(re.search(r", [\d,]+ (windows|spans)$", one) for one in descriptions)


def test_the_page_refers_to_nothing_outside(full):
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
            found.extend(
                value for name, value in attributes if name in {"src", "href", "xlink:href", "srcset", "action"}
            )

    Parser().feed(full)
    assert found
    assert all(one.startswith("#") for one in found)
    assert not re.findall(r"url\((?!#)|@import|https?:", full)


def test_ids_come_once_and_references_have_their_target(full):
    ids = re.findall(r' id="([^"]*)"', full)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', full)) <= set(ids)


def test_text_from_the_corpus_is_escaped(tmp_path):
    folders = write_job(
        tmp_path,
        [row(1, uri=SCRIPT), lost_row(2, uri=f"{SCRIPT}.mp4", detail=SCRIPT)],
        input_uri=f"s3://lab/{SCRIPT}",
    )
    html = html_of(folders)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 5  # title, headline, address and detail of the failed span, recipe


@pytest.mark.parametrize(
    ("found", "to_go", "expected"),
    [
        (
            rows(3),
            9,
            ["not finished: 9 of 12 spans to go", "not done yet 2.4 min 75 % 9", "How fast it went Not recorded."],
        ),
        ([], 4, ["not finished: 4 of 4 spans to go", "The table has no rows yet", "Nothing to count"]),
        (
            [lost_row(k, reason="timeout", detail="over 120 s") for k in range(5)],
            0,
            [
                "No span is labeled",
                "100 % of the hours and 100 % of the spans failed, most often as timeout",
                "timeout media 5 1.3 min recordings/0.mp4 at 0:00 over 120 s",
            ],
        ),
    ],
    ids=["running", "no rows", "all failed"],
)
def test_a_page_says_what_there_is_not(tmp_path, found, to_go, expected):
    text = text_of(html_of(write_job(tmp_path, found, to_go=to_go)))
    assert [words for words in expected if words not in text] == []


def test_a_table_of_sound_alone_says_nothing_of_faces_or_pairs(tmp_path):
    spoken = [row(k, face=(), targets={"speech": windows([(0.1, 0.8, 0.1)] * 2, valid=[0.5, 0.0])}) for k in range(3)]
    html = html_of(write_job(tmp_path, spoken, targets=[SPEECH]), n_faces=4)
    text = text_of(html)
    for words in (
        "median confidence of speech; no opinion",
        "happy 100 % 3",
        "50 % of the windows have none",
        "n = 6 win",
    ):
        assert words in text
    said = text.replace("video_track", "")  # a setting in the recipe
    for words in ("Size of the face", "Do they agree?", "This page shows people", "video"):
        assert words not in said


def test_three_targets_of_two_kinds_are_all_shown(tmp_path):
    both = [
        {**one, "targets": one["targets"] | {"energy": windows([(k + 1.0,)] * 4), "other": one["targets"]["speech"]}}
        for k, one in enumerate(rows(39))
    ]
    text = text_of(html_of(write_job(tmp_path, both, targets=[FACE, SPEECH, replace(SPEECH, name="other"), ENERGY])))
    for words in (
        "of all pairs the least beyond chance",
        "One number for each window: loudness",
        "Values: median 20",
        "face and speech",
        "face and other",
        "speech and other 100 %",
        "other for each label of speech",
        f"energy tuned on nobody energy scalar loudness {'3' * 64}",
    ):
        assert words in text
        text = text[text.index(words) :]


def test_the_steps_add_up_to_what_was_given(tmp_path):
    lost = [
        lost_row(50 + k, *outcome) for k, outcome in enumerate([("filtered", "media", "no_face"), ("failed", "speech")])
    ]
    html = html_of(write_job(tmp_path, [*rows(5), *lost, lost_row(60, end_s=0.0)], to_go=2))
    found = re.search(r'<table class="funnel">.*?</table>', html, flags=re.DOTALL)[0]
    given, *rest = (int(one) for one in re.findall(r'<td class="n">(\d+)</td>\s*</tr>', found))
    assert given == sum(rest) == 10
    widths = [float(one) for one in re.findall(r"width: ([\d.]+)%", found)]
    assert widths[0] == 100
    assert sum(widths[1:]) == pytest.approx(100, abs=0.1)


def test_a_run_without_samples_is_in_the_table(tmp_path):
    folders = write_job(tmp_path, rows(2))
    write_run(tmp_path, finished=False)
    assert "2026-11-22 10:00 3:20 0 0.0" in text_of(html_of(folders))


def test_runs_come_in_the_order_of_their_start_whatever_their_time_zone(tmp_path):
    write_run(tmp_path, name="b", started="2026-11-22T11:30:00+02:00")
    write_run(tmp_path, name="a", started="2026-11-22T10:00:00+00:00")
    started = [run.started for run in load_runs(str(tmp_path / "runs"))]
    assert started == ["2026-11-22T11:30:00+02:00", "2026-11-22T10:00:00+00:00"]


def test_faces_are_shown_only_when_asked_for_and_with_a_warning(tmp_path, monkeypatch):
    asked = []

    def some_faces(rows, wanted, roots, max_pixels):
        assert max_pixels == PlanConfig.max_pixels
        asked.append(len(rows))
        return [
            FacePicture("recordings/1.mp4", 1.5, "AAAA"),
            FacePicture("recordings/2.mp4", 2.0, "", f"crash: {SCRIPT}"),
        ]

    monkeypatch.setattr(page, "contact_sheet", some_faces)
    folders = write_job(tmp_path, rows(9))
    without = html_of(folders)
    assert asked == []
    assert "<img" not in without
    html = html_of(folders, n_faces=4)
    assert asked == [4]
    assert html.count('<img src="data:image/jpeg;base64,AAAA"') == 1
    assert "This page shows people" in html
    assert "crash: &lt;script&gt;" in html


def test_a_job_on_s3_has_its_page_there(s3_store, tmp_path):
    write_job(tmp_path, rows(5))
    write_run(tmp_path, samples=[[100.0, 5, 80.0]])
    bucket = s3_store.bucket()
    for path in tmp_path.rglob("*.*"):
        s3_store.client.upload_file(str(path), bucket, f"out/{path.relative_to(tmp_path)}")
    folders = OutputFolders(f"s3://{bucket}/out")
    make_page(folders)
    text = text_of(read_bytes(folders.page).decode())
    assert "all 5 spans have their row" in text
    assert "hours of recordings per hour, in 1 run" in text


def test_a_job_of_another_version_is_refused(tmp_path):
    folders = write_job(tmp_path, rows(1))
    card = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**card, "recipe": {"schema_version": 1}}))
    with pytest.raises(UserError, match="another version"):
        make_page(folders)


def test_parts_have_the_unit_of_the_whole():
    assert [hours_text(*one) for one in ((45,), (90,), (7200,), (90, 7200))] == ["45 s", "1.5 min", "2.0 h", "0.0 h"]

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_records import random_record
from tone_files import emodistill_targets, write_targets_of_tones, write_tone_labels, write_tones

from liser_ray.commands.settings import parse_settings
from liser_ray.reproduction import job
from liser_ray.reproduction.config import ReproductionConfig, defaults_of_paper
from liser_ray.reproduction.job import make_tables, reproduce
from liser_ray.results.paper import CONFIGURATIONS, EMODISTILL
from liser_ray.results.records import is_taught_by_more, record_to_json
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.training.config import StudentConfig, TrainConfig
from liser_ray.student.training.recipes import defaults_of, read_recipe
from liser_ray.student.training.reliability import NoTeacherLeftError

TRAIN = TrainConfig(epochs=1, batch_size=10)


@pytest.fixture
def records(tmp_path):
    """Two recipes on RAVDESS, and fewer labels on CREMA-D, as files."""
    folder = tmp_path / "records"
    folder.mkdir()
    ravdess = [("no-dstl", "ravdess", 0), ("no-dstl", "ravdess", 1), ("vid-dstl+two-stage", "ravdess", 0)]
    cremad = [("no-dstl", "cremad", 0), ("no-dstl+50%-labels", "cremad", 0)]
    for number, (recipe, labeled, seed) in enumerate(ravdess + cremad):
        record = random_record(recipe=recipe, labeled=labeled, seed=seed)
        (folder / f"{number}.json").write_text(record_to_json(record))
    return str(folder)


def test_every_configuration_runs_once_and_stands_in_the_tables(tmp_path):
    tones = write_tones(tmp_path)
    config = ReproductionConfig(
        [tones], write_tone_labels(tmp_path / "labels", tones), str(tmp_path / "out"), seeds="0", train=TRAIN
    )
    result = reproduce(config)
    assert [record.recipe for record in result.records if record.recipe in CONFIGURATIONS] == sorted(CONFIGURATIONS)
    assert result.left_out == ("table-3: needs --labeled ravdess:FOLDER.", "figure-2: needs --labeled cremad:FOLDER.")
    assert result.tables["results"].count("| tones |") == 5
    assert result.tables["differences"].count("| tones |") == 4
    text = (tmp_path / "out/tables.md").read_text()
    assert all(table in text for table in result.tables.values())
    for name in result.pictures:
        assert (tmp_path / f"out/{name}.png").read_bytes().startswith(b"\x89PNG")
    card = tmp_path / "out/runs/tones/no-dstl/seed-0-fold-0/student.json"
    before = card.stat().st_mtime_ns
    reproduce(config)
    assert card.stat().st_mtime_ns == before


def test_a_table_without_teachers_of_a_set_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "other").mkdir()
    tones, others = write_tones(tmp_path), write_tones(tmp_path / "other", "others")
    labels = write_tone_labels(tmp_path / "labels", tones)
    config = ReproductionConfig([tones, others], labels, str(tmp_path / "out"), seeds="0", train=TRAIN)
    with pytest.raises(UserError, match="no target by a teacher speech of others fold 0"):
        reproduce(config)
    with pytest.raises(UserError, match=r"lambdas\.hubert: no configuration of the paper"):
        reproduce(replace(config, labeled=[tones], loss=LossConfig({"hubert": 1.0})))
    assert not (tmp_path / "out/runs").exists()


def test_without_a_labels_table_the_baseline_runs_and_the_rest_is_named(tmp_path):
    tones = write_tones(tmp_path)
    config = ReproductionConfig([tones], output=str(tmp_path / "out"), parts=["table-2"], seeds="0", train=TRAIN)
    result = reproduce(config)
    assert [record.recipe for record in result.records] == ["no-dstl"]
    assert [line.partition(" on ")[0] for line in result.left_out] == list(CONFIGURATIONS[1:])


def test_tables_and_pictures_of_records_go_into_a_readme(tmp_path, records):
    readme = tmp_path / "README.md"
    readme.write_text("Ours.\n<!-- results:table-2 -->\nold\n<!-- /results:table-2 -->\nThe end.\n")
    config = ReproductionConfig(records=records, readme=[str(readme)], output=str(tmp_path / "out"))
    result = reproduce(config)
    text = readme.read_text()
    assert text.startswith("Ours.\n")
    assert text.endswith("The end.\n")
    assert result.tables["table-2"] in text
    assert "old" not in text
    assert set(result.pictures) > {"ravdess-speakers", "ravdess-differences", "cremad-figure-2"}
    assert (tmp_path / "docs/images/ravdess-speakers.png").exists()


def test_variants_of_the_strong_recipe_are_set_beside_it():
    recipes = ("no-dstl", "strong", "strong-50k", "strong-sp-dstl+self")
    made = make_tables([random_record(recipe=recipe) for recipe in recipes])
    lines = made["strong-differences"].splitlines()
    assert lines[0].startswith("| recipe − strong |")
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| strong-50k", "| strong-sp-dstl+self"]
    assert "strong-differences" not in make_tables([random_record(recipe=recipe) for recipe in recipes[::2]])


def test_nothing_to_make_tables_of_is_said(tmp_path, records):
    with pytest.raises(UserError, match="--labeled"):
        reproduce(ReproductionConfig(output=str(tmp_path / "out")))
    readme = tmp_path / "README.md"
    readme.write_text("No marks.")
    with pytest.raises(UserError, match="no marked place"):
        reproduce(ReproductionConfig(records=records, readme=[str(readme)], output=str(tmp_path / "out")))
    with pytest.raises(UserError, match="leave out --recipe"):
        ReproductionConfig(recipe="strong")
    with pytest.raises(UserError, match="shares"):
        reproduce(ReproductionConfig([write_tones(tmp_path)], shares="0,50", output=str(tmp_path / "out")))


def emodistill(*arguments):
    settings = ["--paper", "emodistill", "--seeds", "0", "--folds", "0,1", "--train.epochs", "1", *map(str, arguments)]
    lists = ("--labeled",)
    return parse_settings(ReproductionConfig, "", settings, lists=lists, defaults=defaults_of_paper)


class TestEmoDistill:
    @pytest.fixture
    def rows(self, tmp_path, monkeypatch):
        """Recipes that are run with a table of these teachers, what is left out, and their settings."""
        tones = write_tones(tmp_path)
        monkeypatch.setattr(
            job, "train_students", lambda config: students.append(config) or SimpleNamespace(records=())
        )
        students = []

        def asked(*arguments, teachers=("prosody", "words")):
            students.clear()
            targets = [one for one in emodistill_targets(tones) if one.teacher in teachers]
            table = write_targets_of_tones(tmp_path / "-".join(teachers), tones, targets=targets)
            given = ["--distil_labeled", table] if teachers else []
            left_out = []
            job._train(
                emodistill("--labeled", tones, "--output", tmp_path, *given, *arguments), str(tmp_path), left_out
            )
            return [one.output.split("/")[-1].partition("+distil")[0] for one in students], left_out, students

        (tmp_path / "records").mkdir()
        return asked

    def test_each_row_is_a_recipe_with_the_settings_of_strong(self, rows):
        names, left_out, students = rows()
        assert names == [row.recipe for row in EMODISTILL if row.recipe]
        assert left_out == []
        strong = parse_settings(StudentConfig, "", ["--recipe", "strong"], defaults=defaults_of)
        for student in students:
            assert student.network == strong.network
            assert student.train == replace(strong.train, epochs=1)
        assert students[0].output.endswith("/runs/tones/emodistill+distil-labeled-only")

    def test_what_a_table_has_no_teacher_for_is_left_out_and_named(self, rows):
        names, left_out, _ = rows(teachers=["prosody"])
        assert names == ["emodistill-without-words", "strong"]
        assert len(left_out) == 4
        assert left_out[0].startswith("emodistill+distil-labeled-only on tones: no teacher words in /")

    def test_weights_are_those_of_the_rows_that_have_them_and_no_row_is_run_twice(self, rows):
        without_words = ["--loss.lambdas.words", 0, "--loss.embeddings.words", 0]
        names, _, students = rows(*without_words, "--loss.temperatures.prosody", 0.5, teachers=["prosody"])
        assert names == [
            "emodistill-without-words",
            "strong",
            "emodistill-without-logits+no-words",
            "emodistill-without-embeddings+no-words",
        ]
        assert [one.loss.temperatures for one in students] == [{"prosody": 0.5}, {}, {}, {"prosody": 0.5}]

    def test_settings_that_are_of_no_row(self, rows):
        with pytest.raises(UserError, match="no row of EmoDistill's tables learns from dog"):
            rows("--loss.embeddings.dog", 1)
        with pytest.raises(UserError, match="--shares is of LiSER's tables"):
            emodistill("--shares", "50")

    def test_ours_stand_beside_the_papers(self):
        recipes = ("strong", "emodistill-without-words+distil-labeled-only")
        made = make_tables([random_record(recipe=recipe) for recipe in recipes])
        lines = [line.split(" | ") for line in made["emodistill"].splitlines() if line.startswith("| w")]
        assert [len(line) for line in lines] == [9] * 6
        assert lines[0][:2] == ["| whole", "emodistill"]
        assert lines[0][-5:] == ["not run"] * 3 + [".761 / .789", ".752 / .775 |"]
        assert lines[4][:3] == ["| without the linguistic teacher", recipes[1], "RAVDESS"]
        assert lines[4][-2:] == [".673", ".660 |"]
        assert lines[5][1] == "strong"
        assert "| prosodic teacher alone | — |" in made["emodistill"]
        assert recipes[1] in made["strong-differences"]


@pytest.fixture
def asked(monkeypatch):
    """What would be trained."""
    found = []
    monkeypatch.setattr(job, "read_labeled_set", lambda address: SimpleNamespace(name=address.partition(":")[0]))
    monkeypatch.setattr(job, "_check_teachers", lambda students: None)
    monkeypatch.setattr(job, "train_students", lambda student: found.append(student) or SimpleNamespace(records=[]))
    return found


def test_lambdas_go_to_the_configurations_that_have_them_or_come_from_searches(asked, tmp_path):
    config = ReproductionConfig(["ravdess:a"], "labels", str(tmp_path / "out"), parts=["table-2"])
    with pytest.raises(UserError, match="Nothing to run"):  # since nothing comes of these
        reproduce(replace(config, loss=LossConfig({"speech": 5.0})))
    assert [student.loss.lambdas for student in asked] == [{}, {}, *[{"speech": 5.0}] * 3]
    asked.clear()
    for number, recipe in enumerate(CONFIGURATIONS[1:]):
        folder = tmp_path / "searches/ravdess" / recipe
        with pytest.raises(UserError, match=rf"no .*{recipe}/best\.yaml. Make it by tune_lambdas\.py"):
            reproduce(replace(config, searches=str(tmp_path / "searches")))
        folder.mkdir(parents=True)
        lambdas = dict.fromkeys(read_recipe(recipe).lambdas, number)
        (folder / "best.yaml").write_text(json.dumps({"loss": {"lambdas": lambdas}}))
    assert not asked
    nothing_left = r"vid-dstl on RAVDESS: its search found a weight of 0, it is vid-dstl\+no-face"
    with pytest.raises(UserError, match=f"Nothing to run: {nothing_left}"):
        reproduce(replace(config, searches=str(tmp_path / "searches")))
    assert [{*student.loss.lambdas.values()} for student in asked] == [set(), {0}, {1}, {2}, {3}]


def test_what_would_fail_after_the_training_is_said_before_it(asked, tmp_path):
    config = ReproductionConfig(["ravdess:a", "ravdess:b"], "labels", str(tmp_path / "out"))
    with pytest.raises(UserError, match="two sets have the same name"):
        reproduce(config)
    with pytest.raises(UserError, match=r"gone\.md: there is no such file"):
        reproduce(replace(config, readme=[str(tmp_path / "gone.md")]))
    with pytest.raises(UserError, match=r"leave out --train\.labeled_by"):
        replace(config, train=replace(config.train, labeled_by="speaker"))
    with pytest.raises(UserError, match="Leave out --folds none"):
        replace(config, folds="none")
    assert not asked


def test_a_row_whose_teachers_are_too_bad_is_left_out(asked, tmp_path, monkeypatch):
    def train(student):
        if student.recipe == "vid-dstl":
            raise NoTeacherLeftError("No teacher")
        asked.append(student)
        return SimpleNamespace(records=[random_record(recipe=student.recipe)])

    monkeypatch.setattr(job, "train_students", train)
    result = reproduce(ReproductionConfig(["ravdess:a"], "labels", str(tmp_path / "out"), parts=["table-2"]))
    assert [one.recipe for one in asked] == [one for one in CONFIGURATIONS if one != "vid-dstl"]
    assert len(result.left_out) == 1
    assert result.left_out[0].endswith("vid-dstl: No teacher")


def test_the_papers_two_sets_need_twenty_configurations(asked, tmp_path):
    tables = {str(share): f"labels-{share}" for share in (25, 50, 75)}
    with pytest.raises(UserError, match="Nothing to run"):  # since nothing comes of these
        reproduce(ReproductionConfig(["ravdess:a", "cremad:b"], "labels", str(tmp_path), unlabeled_at=tables))
    names = [student.output.split("/")[-1] for student in asked if student.labeled == "cremad:b"]
    fewer = [f"{recipe}+{share}%-labels" for share in (25, 50, 75) for recipe in ("no-dstl", "vid-sp-dstl")]
    assert names == [*CONFIGURATIONS, *fewer]
    ablations = [student for student in asked if student.labeled == "ravdess:a"][5:]
    asked.clear()
    with pytest.raises(UserError, match="Nothing to run"):
        reproduce(ReproductionConfig(["ravdess:a"], "labels", str(tmp_path), parts=["table-3"], distil_labeled="own"))
    assert [(s.unlabeled, s.distil_labeled) for s in asked] == [("labels", "own"), ("labels", "")] * 2
    assert [(s.recipe, s.loss.distillation, s.train.two_stage) for s in ablations] == [
        ("vid-dstl", "ce", False),
        ("vid-dstl", "mae", True),
        ("sp-dstl", "ce", False),
        ("sp-dstl", "mae", True),
    ]


def test_students_of_fewer_labels_learn_from_teachers_of_fewer_labels(asked, tmp_path):
    (tmp_path / "shares.yaml").write_text("unlabeled_at: {50: half}\n")
    given = ["--config", str(tmp_path / "shares.yaml"), "--labeled", "cremad:b", "--unlabeled", "labels"]
    given += ["--output", str(tmp_path), "--parts", "figure-2"]
    config = parse_settings(ReproductionConfig, "", given, lists=("--labeled", "--parts"))
    with pytest.raises(UserError, match=r"vid-sp-dstl\+25%-labels on CREMA-D: needs --unlabeled_at\.25"):
        reproduce(config)
    taught = {student.train.labeled_fraction: student.unlabeled for student in asked if student.recipe == "vid-sp-dstl"}
    assert taught == {0.5: "half", 1.0: "labels"}
    assert [one.train.labeled_fraction for one in asked if one.recipe == "no-dstl"] == [0.25, 0.5, 0.75, 1.0]
    with pytest.raises(UserError, match=r"--unlabeled_at\.33: --shares has 25,50,75"):
        reproduce(replace(config, unlabeled_at={"33": "third"}))


def test_a_table_by_teachers_who_heard_more_labels_is_refused_before_anything_is_trained(tmp_path):
    tones = write_tones(tmp_path, "cremad")
    whole, half = (write_tone_labels(tmp_path / str(share), tones, share) for share in (1.0, 0.5))
    config = ReproductionConfig([tones], whole, str(tmp_path / "out"), seeds="0", train=TRAIN, parts=["figure-2"])
    config = replace(config, shares="50", unlabeled_at={"50": whole})
    with pytest.raises(UserError, match=r"was tuned on 100% of cremad's training recordings, .* learns from 50%"):
        reproduce(config)
    assert not (tmp_path / "out/runs").exists()
    result = reproduce(replace(config, unlabeled_at={"50": half}))
    taught = {one.recipe: is_taught_by_more(one) for one in result.records}
    assert taught == dict.fromkeys([*taught], False)
    assert len(taught) == 4
    assert "cremad-figure-2" in result.pictures

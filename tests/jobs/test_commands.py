"""What all jobs have in common: their help, and one clear message for a wrong command."""

import pytest

FINETUNE, REPORT, TRAIN, TUNE = "finetune_speech_teacher", "report_corpus", "train_student", "tune_lambdas"
EVALUATE, PROSODY = "evaluate", "finetune_prosody_teacher"
HELP = {
    FINETUNE: ("--labeled", "ravdess:FOLDER", "--lora.rank", "--train.crop_s", "in seconds", "--max_failures"),
    PROSODY: ("--labeled", "ravdess:FOLDER", "--descriptors", "opensmile", "--train.crop_s", "in seconds", "--workers"),
    EVALUATE: ("--model", "--labeled", "--conditions", "--label_map", "ang=anger", "0.1 s"),
    "label_corpus": (
        *("--measure.gpus", "--input", "--plan.span_seconds", "--media.faces.detect_every", "--retry_failed"),
        "wall-clock limit",
    ),
    TRAIN: (
        *("--labeled", "conf-vid-sp-dstl", "--loss.lambdas", "--train.augment.mixup_alpha", "--memory_gb"),
        "\n  python jobs/train_student.py --labeled ravdess:data/RAVDESS --recipe no-dstl\n",
    ),
    TUNE: (
        *("--space", "--first_folds", "--scheduler", "--train.learning_rate", "best.yaml"),
        "\n  python jobs/tune_lambdas.py --output out/search --resume\n",
    ),
}


@pytest.mark.parametrize("job", HELP)
def test_help_names_every_field_and_its_unit(run, job):
    _, text, _ = run(job, "--help")
    assert [words for words in HELP[job] if words not in text] == []


@pytest.mark.parametrize(
    ("job", "arguments", "words"),
    [
        (EVALUATE, [], ["--labeled", "ravdess:"]),
        (EVALUATE, ["--labeled", "x.csv", "--conditions", "windy"], ["--conditions windy", "telephone"]),
        (EVALUATE, ["--labeled", "x.csv"], ["No weights given", "a student's folder"]),
        (FINETUNE, [], ["--labeled", "ravdess:"]),
        (FINETUNE, ["--labeled", "ravdess:/nowhere"], ["/nowhere"]),
        (FINETUNE, ["--labeled", "nosuchset:/data"], ["nosuchset", "cremad:"]),
        (FINETUNE, ["--labeled", "x.csv", "--train.crop_s", "0.1"], ["crop_s", "0.5"]),
        (FINETUNE, ["--labeled", "x.csv", "--lora.rank", "0"], ["LoRA", "rank"]),
        (PROSODY, [], ["--labeled", "ravdess:"]),
        (PROSODY, ["--labeled", "x.csv", "--train.dropout", "1"], ["dropout is 1.0", "below 1"]),
        (REPORT, [], ["has no run.json: give the --output of a label_corpus.py that has begun"]),
        (REPORT, ["--contact_sheet", "-1"], ["contact_sheet"]),
        (TRAIN, [], ["--labeled", "ravdess:"]),
        (TRAIN, ["--labeled", "ravdess:/nowhere", "--recipe", "no-dstl"], ["/nowhere"]),
        (TRAIN, ["--labeled", "x.csv"], ["conf-vid-sp-dstl", "label_corpus.py", "--unlabeled"]),
        (TRAIN, ["--labeled", "x.csv", "--recipe", "no-dstl", "--train.two_stage"], ["two_stage", "sp-dstl"]),
        (TRAIN, ["--labeled", "x.csv", "--loss.lambdas.speech", "-1"], ["lambdas.speech is -1"]),
        (TRAIN, ["--labeled", "x.csv", "--loss.lambdas.dog", "1"], ["--loss.lambdas.dog", "speech and face"]),
        (TUNE, [], ["--labeled"]),
        (TUNE, ["--resume"], ["no search to go on with", "--output"]),
        (TUNE, ["--labeled", "x.csv", "--space", "loss.lambda=1"], ["no such field", "loss.lambdas.speech"]),
    ],
)
def test_a_wrong_command_is_one_clear_message(refused, tmp_path, job, arguments, words):
    refused(words, job, "--output", tmp_path / "out", *arguments)

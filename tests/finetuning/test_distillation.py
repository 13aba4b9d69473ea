"""EmoDistill's student: a speech model that is tuned learns from teachers of its labeled recordings too."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from finetuning.conftest import CPU, FOLD, training_of
from safetensors.torch import load_file
from small_labels import write_labels
from tones import LABELS

from liser_ray.commands.settings import parse_settings
from liser_ray.corpora.folds import Fold
from liser_ray.corpora.utterance import LabeledSet, Utterance
from liser_ray.finetuning.config import LISTS, FinetuneConfig, LoraSettings, TrainSettings
from liser_ray.finetuning.distillation import Lesson, check_lesson, heard_and_said, lesson
from liser_ray.finetuning.heads_beside import HeadsBeside, answers_to_teachers
from liser_ray.finetuning.run import write_bundle
from liser_ray.runtime.errors import UserError
from liser_ray.student.config import LossConfig
from liser_ray.student.losses import SegmentTarget
from liser_ray.student.training.recipes import defaults_of_loss
from liser_ray.teachers.kinds import read_teachers
from liser_ray.teachers.projected_head import ProjectedHead, head_of_weights
from liser_ray.teachers.speech_models import load_base
from liser_ray.teachers.targets import Target, TunedOn
from liser_ray.teachers.windows import sound_windows
from liser_ray.training.fit import trained_weights

SIZE = 6
BOTH = LossConfig(
    lambdas={"prosody": 1.0, "words": 0.5},
    embeddings={"prosody": 2.0, "words": 1.0},
    temperatures={"words": 3.0},
    distillation="kl",
    heads="predicting",
)


def target(name: str, heard=tuple("abcdef"), fold=0, size=SIZE, labels=tuple(LABELS)) -> Target:
    """Of a whole recording, by a teacher that was tuned on a fold of the tones."""
    tuned = TunedOn("tones", fold, tuple(heard))
    return Target(name, "distribution", labels, 0.0, 0.0, "0" * 64, name, size, tuned)


def labeled_set(speech) -> LabeledSet:
    utterances = (
        Utterance(*one) for one in zip(speech.uris, np.array(LABELS)[speech.label_index], speech.speakers, strict=True)
    )
    return LabeledSet(speech.name, tuple(LABELS), tuple(utterances), {})


@pytest.fixture(scope="module")
def table(speech, tmp_path_factory):
    """What two teachers say of all recordings but the last one, with the rows that say it."""
    folder = tmp_path_factory.mktemp("table")
    sounds = [(speech.uris[k], 0.0, speech.waveform(k)) for k in range(len(speech) - 1)]
    rows = write_labels(folder, targets=(target("prosody"), target("words")), sounds=sounds)
    return folder, rows


def config(base, table, **changes) -> FinetuneConfig:
    settings = FinetuneConfig(
        base=str(base),
        recipe="emodistill",
        distil_labeled=str(table[0]),
        loss=BOTH,
        projections={"prosody": SIZE, "words": SIZE},
        head_only=True,
        train=TrainSettings(epochs=2, batch_size=4, learning_rate=0.01),
        workers=0,
    )
    return replace(settings, **changes)


def test_what_is_said_is_of_each_recording_and_of_nobody_whom_no_row_is_of(base, speech, table):
    found = lesson(config(base, table), heard_and_said(config(base, table), speech, [FOLD])[1], FOLD)
    assert found is not None
    assert list(found.targets) == ["prosody", "words", "prosody.embedding", "words.embedding"]
    values, valid = found.said["words"]
    assert valid.tolist() == [True] * (len(speech) - 1) + [False]
    for k, row in enumerate(table[1]):
        in_order = [target("words").labels.index(label) for label in speech.labels]
        np.testing.assert_allclose(values[k], row["values"]["words"][0][in_order], rtol=1e-6)
        np.testing.assert_allclose(found.said["prosody.embedding"].values[k], row["embedding"]["prosody"][0], rtol=1e-6)


@pytest.mark.numerics
def test_the_terms_are_the_equation_written_out():
    rng = np.random.default_rng(0)
    n, k = 5, 4
    logits = torch.tensor(rng.normal(size=(n, k)), requires_grad=True)
    head = ProjectedHead(3, {"prosody": SIZE, "words": SIZE}, k).double()
    head(torch.tensor(rng.normal(size=(n, 3))))
    softmax, vectors = torch.tensor(rng.dirichlet(np.ones(k), n)), torch.tensor(rng.normal(size=(n, SIZE)))
    valid = torch.tensor([True, False, True, True, True])
    names = {"prosody": softmax, "words": softmax, "prosody.embedding": vectors, "words.embedding": vectors}
    targets = {name: target(name.partition(".")[0]) for name in ("prosody", "words")}
    targets |= {f"{name}.embedding": one.of_embedding() for name, one in targets.items()}
    taught = Lesson(BOTH, targets, {name: SegmentTarget(one, valid) for name, one in names.items()})
    recordings, weights = np.array([3, 3, 0, 1, 2]), torch.tensor([0.5, 0.5, 1, 1, 1], dtype=torch.float64)
    found = taught.terms(logits, answers_to_teachers(head), recordings, weights)

    def kl(temperature):
        log_t = (softmax[recordings].log() / temperature).log_softmax(1)
        return (log_t.exp() * (log_t - (logits / temperature).log_softmax(1))).sum(1)

    def minus_cosine(name):
        one, other = head.projected[name], vectors[recordings]
        return -(one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))

    counts = weights * valid[recordings]
    expected = {
        "prosody": kl(1.0) @ counts,
        "words": 0.5 * (kl(3.0) @ counts),
        "prosody.embedding": 2.0 * (minus_cosine("prosody") @ counts),
        "words.embedding": minus_cosine("words") @ counts,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)
    sum(found.values()).backward()
    assert logits.grad is not None
    assert not logits.grad[3].any()
    assert logits.grad[0].any()


@pytest.mark.parametrize("head_only", [True, False], ids=["head", "lora"])
def test_what_is_tuned_comes_close_to_its_teachers_and_answers_from_its_folder_as_in_training(
    base, speech, table, tmp_path, head_only
):
    taught = config(base, table, head_only=head_only, lora=LoraSettings(rank=2))
    job, one = training_of(taught, speech, output=str(tmp_path))
    one.run()
    first, last = one.history[0].terms, one.history[-1].terms
    assert last["prosody.embedding"] < first["prosody.embedding"]
    assert last["words.embedding"] < first["words.embedding"]
    write_bundle(job, one, speech, one.task.split)
    (entry,) = read_teachers([f"speech=speech:{tmp_path}/fold-0"])
    windows = sound_windows(speech.waveform(3), 0.5, 0.5)[0]
    answered = entry.load(CPU)(windows)["speech"].values
    inputs = one.task.prepare.windows(torch.from_numpy(windows))
    with torch.inference_mode():
        model = one.model.eval()
        logits = model(load_base(base, CPU).statistics(**inputs)) if head_only else model(**inputs).logits
    np.testing.assert_allclose(answered, logits.softmax(1).numpy(), atol=1e-5)


ENERGY = Target("energy", "scalar", ("dB",), 0.25, 0.25, "2" * 64, "energy", tuned_on=TunedOn("", 0, ()))
UNITS = replace(ENERGY, name="action_units", kind="distribution", labels=("joy", "anger"), window_s=0.5, hop_s=0.5)
PRETEXT = LossConfig({"energy": 1.0, "face_motion": 0.0, "action_units": 2.0}, "kl", scalars="high-low")


@pytest.fixture(scope="module")
def of_pretext(speech, tmp_path_factory):
    """How the energy varies and which action units there are in all recordings, by teachers that have heard nobody."""
    folder = tmp_path_factory.mktemp("pretext")
    sounds = [(speech.uris[k], 0.0, speech.waveform(k)) for k in range(len(speech))]
    return folder, write_labels(folder, targets=(ENERGY, UNITS), sounds=sounds, speakers=list(speech.speakers))


def of_joint(base, table, **changes):
    return config(base, table, **{"recipe": "pretext-joint", "loss": PRETEXT, "projections": {}} | changes)


def test_of_a_scalar_each_recording_has_the_share_of_its_windows_that_are_high(base, speech, of_pretext):
    rows = of_pretext[1]
    found = lesson(of_joint(base, of_pretext), heard_and_said(of_joint(base, of_pretext), speech, [FOLD])[1], FOLD)
    assert found.heads == {"energy": 1, "action_units": 2}
    values, valid = found.said["energy"]
    for k, row in enumerate(rows):
        of_speaker = np.concatenate([one["values"]["energy"] for one in rows if one["speaker"] == row["speaker"]])
        low, high = np.quantile(of_speaker.astype(np.float64), [0.4, 0.6]).astype(np.float32)
        decided = [value >= high for value in row["values"]["energy"][:, 0] if not low < value < high]
        assert valid[k] == bool(decided)
        assert values[k].item() == pytest.approx(np.mean(decided) if decided else 0)


@pytest.mark.parametrize("head_only", [True, False], ids=["head", "lora"])
def test_heads_beside_the_classifier_learn_and_are_not_written(base, speech, of_pretext, tmp_path, head_only):
    taught = of_joint(base, of_pretext, head_only=head_only, lora=LoraSettings(rank=2))
    assert taught.method().name == "pretext-joint+no-face_motion+distil-labeled-only+base0" + "+head" * head_only
    taught = replace(taught, train=replace(taught.train, epochs=8))
    job, one = training_of(taught, speech, output=str(tmp_path))
    heads = [module for module in one.model.modules() if isinstance(module, HeadsBeside)]
    before = [{name: value.clone() for name, value in head.state_dict().items()} for head in heads]
    one.run()
    first, last = one.history[0].terms, one.history[-1].terms
    assert first.keys() == {"supervised", "energy", "action_units"}
    assert last["action_units"] < first["action_units"]
    changed = [
        {name for name, value in head.state_dict().items() if not torch.equal(value, old[name])}
        for head, old in zip(heads, before, strict=True)
    ]
    assert max(changed, key=len) == {*before[0]}
    write_bundle(job, one, speech, one.task.split)
    alone = config(base, of_pretext, recipe="no-dstl", distil_labeled="", loss=LossConfig(), projections={})
    alone = replace(alone, head_only=head_only, lora=LoraSettings(rank=2), train=replace(taught.train, epochs=1))
    job_alone, without = training_of(alone, speech, output=str(tmp_path / "alone"))
    without.run()
    write_bundle(job_alone, without, speech, without.task.split)
    file = "head.safetensors" if head_only else "adapter_model.safetensors"
    kept, expected = (load_file(folder / "fold-0" / file) for folder in (tmp_path, tmp_path / "alone"))
    assert {name: value.shape for name, value in kept.items()} == {name: one.shape for name, one in expected.items()}
    (entry,) = read_teachers([f"speech=speech:{tmp_path}/fold-0"])
    assert entry.load(CPU)(sound_windows(speech.waveform(3), 0.5, 0.5)[0])["speech"].values.shape[1] == len(LABELS)


@pytest.mark.parametrize("head_only", [True, False], ids=["head", "lora"])
def test_in_two_stages_the_rows_of_a_table_are_learned_first_and_then_the_labels(base, speech, tmp_path, head_only):
    written = write_labels(tmp_path, rows=9, targets=(ENERGY, UNITS), lengths_s=(0.6, 1.5), statuses=(1, 0, 0))
    loss = replace(PRETEXT, lambdas={"energy": 0.0, "face_motion": 0.0, "action_units": 1.0})
    given = {"recipe": "pretext", "distil_labeled": "", "unlabeled": str(tmp_path), "loss": loss, "projections": {}}
    two = config(base, (tmp_path,), head_only=head_only, lora=LoraSettings(rank=2), **given)
    assert two.method().n_unlabeled() == len(written)
    assert two.method().name == "pretext+no-energy+no-face_motion+base0" + "+head" * head_only
    check_lesson(two, labeled_set(speech), [FOLD])
    _, one = training_of(replace(two, train=replace(two.train, epochs=4)), speech)
    n_steps = [-(-n // 4) for n in (len(written), len(one.task.split.train))]
    assert [one.task.n_steps(epoch) for epoch in (1, 4, 5, 8)] == [n_steps[0]] * 2 + [n_steps[1]] * 2
    everything, said = heard_and_said(two, speech, [FOLD])
    for k, row in enumerate(written):
        np.testing.assert_array_equal(everything.waveform(len(speech) + k), row["pcm"])
        mean = row["values"]["action_units"].mean(axis=0)
        np.testing.assert_allclose(said.by_name["action_units"].values[len(speech) + k], mean, rtol=1e-5)
    assert said.by_name["action_units"].valid.tolist() == [False] * len(speech) + [True] * len(written)
    assert lesson(two, said, FOLD).unlabeled.tolist() == [len(speech) + k for k in range(len(written))]
    one.run()
    first, second = one.history[:4], one.history[4:]
    assert all(score.terms["supervised"] == 0 < score.terms["action_units"] for score in first)
    assert all(score.terms["action_units"] == 0 < score.terms["supervised"] for score in second)
    assert first[-1].terms["action_units"] < first[0].terms["action_units"]
    assert first[-1].validation_uar is None
    assert one.best.epoch > 4


MOTION = replace(ENERGY, name="face_motion", teacher="face_motion")


@pytest.mark.parametrize(
    ("recipe", "names", "head_only"),
    [
        ("pretext", {"energy", "face_motion", "action_units"}, False),
        ("pretext-energy", {"energy"}, True),
        ("pretext-face-motion", {"face_motion"}, True),
        ("pretext-action-units", {"action_units"}, True),
        ("pretext-joint", {"energy", "face_motion", "action_units"}, True),
    ],
)
def test_each_pretext_recipe_by_its_name(base, speech, tmp_path, recipe, names, head_only):
    is_joint = recipe == "pretext-joint"
    sounds = [(speech.uris[k], 0.0, speech.waveform(k)) for k in range(len(speech))] if is_joint else ()
    write_labels(tmp_path, rows=9, targets=(ENERGY, MOTION, UNITS), sounds=sounds, lengths_s=(1, 2), statuses=(1, 0, 0))
    given = ["--recipe", recipe, "--base", str(base), "--distil_labeled" if is_joint else "--unlabeled", str(tmp_path)]
    given += ["--train.epochs", "2", "--train.batch_size", "4", "--lora.rank", "2", "--workers", "0"]
    given += ["--head_only"] * head_only
    taught = parse_settings(FinetuneConfig, "", given, lists=LISTS, defaults=defaults_of_loss)
    assert taught.method().name.removesuffix("+head") == f"{recipe}{'+distil-labeled-only' * is_joint}+base0"
    check_lesson(taught, labeled_set(speech), [FOLD])
    job, one = training_of(taught, speech, output=str(tmp_path))
    one.run()
    first, *_, last = [score.terms for score in one.history]
    assert first.keys() == {"supervised", *names}
    assert all((first[name] > 0) and ((last[name] > 0) == is_joint) for name in names)
    assert (first["supervised"] > 0) == is_joint
    assert last["supervised"] > 0
    write_bundle(job, one, speech, one.task.split)
    weights = load_file(tmp_path / "fold-0" / ("head.safetensors" if head_only else "adapter_model.safetensors"))
    assert not [name for name in weights if "beside" in name or any(one in name for one in names)]


@pytest.mark.parametrize("recipe", ["pretext-energy", "pretext-joint"])
def test_a_placebo_has_what_is_said_of_others(base, speech, tmp_path, recipe):
    is_joint = recipe == "pretext-joint"
    sounds = [(speech.uris[k], 0.0, speech.waveform(k)) for k in range(len(speech))] if is_joint else ()
    write_labels(tmp_path, rows=12, targets=(ENERGY,), sounds=sounds, statuses=(1, 0, 0))
    loss = LossConfig({"energy": 1.0, "face_motion": 0.0, "action_units": 0.0} if is_joint else {}, scalars="high-low")
    table = {"distil_labeled" if is_joint else "unlabeled": str(tmp_path)}
    plain = config(
        base, (tmp_path,), **{"recipe": recipe, "loss": loss, "projections": {}, "distil_labeled": ""} | table
    )
    placebo = replace(plain, train=replace(plain.train, placebo=True))
    assert placebo.method().name == plain.method().name.replace("+base0", "+placebo+base0")
    lessons = [lesson(one, heard_and_said(one, speech, [FOLD])[1], FOLD) for one in (plain, placebo)]
    values, others = (np.where(one.said["energy"].valid, one.said["energy"].values[:, 0], -1) for one in lessons)
    heard = speech.of_speakers(FOLD.train) if is_joint else lessons[0].unlabeled
    assert sorted(values[heard]) == sorted(others[heard])
    assert (values[heard] != others[heard]).any()
    rest = np.setdiff1d(np.arange(len(values)), heard)
    assert (values[rest] == others[rest]).all()
    steps = [training_of(one, speech)[1].task.n_steps(1) for one in (plain, placebo)]
    assert steps[0] == steps[1]
    alone = replace(placebo, recipe="no-dstl", distil_labeled="", unlabeled="", loss=LossConfig())
    with pytest.raises(UserError, match="learns from labels alone: give a --recipe with teachers"):
        check_lesson(alone, labeled_set(speech), [FOLD])


def test_rows_of_speakers_who_are_scored_are_not_heard_in_the_first_stage_either(base, speech, tmp_path):
    sounds = [("elsewhere.wav", 0.0, speech.waveform(k)) for k in range(len(speech))]
    write_labels(tmp_path, targets=(ENERGY,), sounds=sounds)
    given = {"distil_labeled": "", "unlabeled": str(tmp_path), "loss": LossConfig(scalars="high-low")}
    two = config(base, (tmp_path,), recipe="pretext-energy", projections={}, **given)
    taught = lesson(two, heard_and_said(two, speech, [FOLD])[1], FOLD)
    assert {speech.speakers[k - len(speech)] for k in taught.unlabeled} == FOLD.train
    everybody = Fold(0, frozenset("x"), frozenset("abcd"), frozenset("efgh"))
    with pytest.raises(UserError, match="All rows"):
        heard_and_said(two, speech, [everybody])


def test_weights_of_zero_are_labels_alone_to_the_byte(base, speech, table):
    alone = config(base, table, recipe="no-dstl", distil_labeled="", loss=LossConfig())
    nothing = replace(BOTH, lambdas={"prosody": 0.0, "words": 0.0}, embeddings={"prosody": 0.0, "words": 0.0})
    weights = []
    for settings in (alone, config(base, table, loss=nothing)):
        _, one = training_of(settings, speech)
        one.run()
        weights.append(trained_weights(one.model).values())
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("head_only", [True, False], ids=["head", "lora"])
def test_labels_are_smoothed_as_the_loss_says_and_the_card_knows_it(base, speech, table, head_only):
    found = []
    for smoothing in (0.0, 0.5):
        loss = LossConfig(label_smoothing=smoothing)
        alone = config(base, table, recipe="no-dstl", distil_labeled="", loss=loss, head_only=head_only)
        assert alone.method().facts()["settings"].get("loss", {}).get("label_smoothing", 0.0) == smoothing
        _, one = training_of(replace(alone, train=replace(alone.train, epochs=6)), speech)
        one.run()
        found.append(one.history[-1].loss)
    assert found[1] > found[0] + 0.1  # who is never wholly right is never without loss


def test_what_can_not_be_learned_is_refused_before_anything_is_heard(base, speech, table, tmp_path):
    labeled = labeled_set(speech)
    check_lesson(config(base, table), labeled, [FOLD])
    heard_test_speaker = tmp_path / "leak"
    targets = (target("prosody"), target("words", heard="abcdeh"))
    write_labels(heard_test_speaker, targets=targets, sounds=[(speech.uris[0], 0.0, speech.waveform(0))])
    other_fold = Fold(1, train=FOLD.train, validation=FOLD.test, test=FOLD.validation)
    for changes, folds, words in (
        ({"distil_labeled": ""}, [FOLD], "--distil_labeled"),
        ({"recipe": "no-dstl", "loss": LossConfig()}, [FOLD], "labels alone"),
        ({"unlabeled": "labels"}, [FOLD], "one stage, without --unlabeled: .*pretext"),
        ({"recipe": "pretext", "loss": LossConfig()}, [FOLD], "as --unlabeled give"),
        ({"recipe": "pretext", "loss": LossConfig(), "unlabeled": "labels"}, [FOLD], "without --distil_labeled"),
        ({"projections": {"prosody": SIZE, "words": 5}}, [FOLD], "--projections.words 6"),
        ({"loss": replace(BOTH, embedding_size=8)}, [FOLD], "--loss.embedding_size"),
        ({"loss": replace(BOTH, penalty=1.0)}, [FOLD], "--loss.penalty"),
        ({"projections": {}}, [FOLD], f"--projections.prosody {SIZE}"),
        ({"distil_labeled": str(heard_test_speaker)}, [FOLD], "words was tuned on speakers h"),
        ({"loss": replace(BOTH, lambdas={"face": 1.0})}, [FOLD], "face"),
    ):
        with pytest.raises(UserError, match=words):
            check_lesson(config(base, table, **changes), labeled, folds)
    check_lesson(config(base, table), labeled, [other_fold])  # a target by its own name; nobody scored has been heard


def test_a_head_is_known_by_its_weights():
    for head in (torch.nn.Linear(3, 4), ProjectedHead(3, {"type": 5, "words": 2}, 4)):
        again = head_of_weights({f"x.{name}": one for name, one in head.state_dict().items()}, "x.")
        again.load_state_dict(head.state_dict())
        torch.testing.assert_close(again(torch.ones(2, 3)), head(torch.ones(2, 3)))

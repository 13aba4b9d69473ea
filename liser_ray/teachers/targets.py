"""What teachers give: a target is a column of values with names, for the windows of a span."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from liser_ray.results.set_names import JOINT, identity, person, set_names
from liser_ray.runtime.errors import UserError

TargetKind = Literal["distribution", "scalar", "embedding"]
"""Of the values of a window: probabilities that sum to 1, any one number, or a vector (`Target.of_embedding`)."""


Takes = Literal["clips", "sound", "text"]
"""What a teacher takes: face clips uint8 [16, 337, 224] (packed, 30 Hz), sound float32 [n], 16 kHz mono, -1..1, or
text, the words of a whole span."""


@dataclass(frozen=True)
class TunedOn:
    """On what a teacher was tuned.

    Attributes:
        labeled: name of the labeled set; of several that were joined, such as "ravdess+cremad".
        fold: of its test speakers.
        heard: speakers whose recordings chose its weights, its epoch or its temperature, in order; of joined sets as
            "ravdess/2".
        labeled_fraction: share of these speakers' recordings, 0..1, as `liser_ray.corpora.speech.training_recordings`
            draws it; 1 also where it is not known.
    """

    labeled: str
    fold: int
    heard: tuple[str, ...]
    labeled_fraction: float = 1.0

    def shares_sets_with(self, labeled: str) -> bool:
        """Whether it was tuned on a set of this name, or on one of those that are joined in it."""
        return not set(set_names(self.labeled)).isdisjoint(set_names(labeled))

    def heard_of(self, labeled: str, speakers: Collection[str]) -> list[str]:
        """Whom it has heard of some speakers of a set, by its own names for them.

        "Ross" is also "Ross (test)", of whom a part alone is asked; "Ross (train)" is not: these are other recordings.
        """
        asked = {identity(labeled, speaker) for speaker in speakers}
        people = {(of_set, person(name)) for of_set, name in asked}

        def is_asked(of_set: str, name: str) -> bool:
            whole = (of_set, person(name))
            return (of_set, name) in asked or whole in asked or (name == whole[1] and whole in people)

        return [speaker for speaker in self.heard if is_asked(*identity(self.labeled, speaker))]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TunedOn":
        """What a table's metadata has, or the file beside a teacher's weights."""
        heard = content["heard"]
        if isinstance(heard, str):
            raise TypeError(f"heard is no list: {heard!r}")
        fraction = float(content.get("labeled_fraction", 1.0))
        return cls(str(content["labeled"]), int(content["fold"]), tuple(map(str, heard)), fraction)


NOBODY = TunedOn("", 0, ())
"""Of a measurement, which was tuned on no labeled set."""


def with_teachers(own: TunedOn, teachers: Mapping[str, Mapping[str, Any]]) -> TunedOn | None:
    """On what a model was tuned that has learned from teachers too: whom they have heard, it has heard.

    Args:
        own: on what it was tuned by itself.
        teachers: the targets that it has learned from, as JSON (`Target.to_json`), by name.

    Returns:
        Its own sets first, and the largest share of any teacher's that was tuned on them; None if one does not say.
    """
    tuned = [one["tuned_on"] for one in teachers.values()]
    if not all(tuned):
        return None
    every = [own, *(one for one in map(TunedOn.from_json, tuned) if one.heard)]
    if len(every) == 1:
        return own
    heard = sorted({identity(one.labeled, name) for one in every for name in one.heard})
    own_sets = set_names(own.labeled)
    sets = [*own_sets, *sorted({of_set for of_set, _ in heard}.difference(own_sets))]
    names = tuple(name if len(sets) == 1 else f"{of_set}/{name}" for of_set, name in heard)
    fraction = max(one.labeled_fraction for one in every if one.shares_sets_with(own.labeled))
    return TunedOn(JOINT.join(sets), own.fold, names, fraction)


@dataclass(frozen=True)
class HeldOut:
    """How good a teacher is on recordings that trained nothing but its epoch and its temperature.

    Attributes:
        uar: 0..1.
        confidence_auroc: how well its largest probability tells where it is right (`confidence_auroc`), 0..1, by chance
            .5; None: not known.
        hears_s: seconds of sound that were heard for each window, from its middle; 0: the window; None: not known.
        speakers: how many were heard; None: not known.
        recordings: of these speakers; None: not known.
    """

    uar: float
    confidence_auroc: float | None
    hears_s: float | None = None
    speakers: int | None = None
    recordings: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What is known; tables and cards from before all of it was told have the rest neither."""
        told = asdict(self)
        return {name: value for name, value in told.items() if name == "confidence_auroc" or value is not None}


@dataclass(frozen=True)
class Target:
    """A column of a labels table, and what a student must know of it; JSON in the table's metadata.

    Attributes:
        name: of the column, letters, digits and _.
        kind: of the values.
        labels: names of the K values of a window, in order; of a scalar its one, of an embedding none.
        window_s: length of a window in seconds; 0: the whole span is one.
        hop_s: from the start of one window to that of the next.
        sha256: of all that decides on the values: weights and how they are used.
        teacher: the name of the teacher that gives it, as it was called when the table was made. Those of a pattern,
            such as ``speech=speech:teachers/fold-*``, give ``speech_fold_0`` and so on.
        embedding_size: D of the vector that is stored for each window; 0: none.
        tuned_on: whom it has heard; None: it does not say.
        temperature: at which a distribution is as sure as it is right (Guo et al. 2017); values are without it.
        held_out: how good it is; None: it does not say.
    """

    name: str
    kind: TargetKind
    labels: tuple[str, ...]
    window_s: float
    hop_s: float
    sha256: str
    teacher: str
    embedding_size: int = 0
    tuned_on: TunedOn | None = None
    temperature: float = 1.0
    held_out: HeldOut | None = None

    def to_json(self) -> dict[str, Any]:
        """For the table's metadata."""
        return asdict(self) | {"held_out": self.held_out and self.held_out.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Target":
        """What `to_json` has given."""
        values = {**content, "labels": tuple(content["labels"])}
        if tuned := content.get("tuned_on"):
            values["tuned_on"] = TunedOn.from_json(tuned)
        if held_out := content.get("held_out"):
            values["held_out"] = HeldOut(**held_out)
        return cls(**values)

    def of_embedding(self) -> "Target":
        """The vectors that are stored beside its values, as a target of their own, which no table names."""
        return replace(self, name=embedding_of(self.name), kind="embedding", labels=())

    @property
    def n_values(self) -> int:
        """K; of an embedding D."""
        return self.embedding_size if self.kind == "embedding" else len(self.labels)

    @property
    def path(self) -> tuple[str, str]:
        """Where its values are: a column of the table's targets, and a field of it."""
        column, _, field = self.name.partition(".")
        return column, field or "values"


def embedding_of(name: str) -> str:
    """What the embedding of a target is called."""
    return f"{name}.embedding"


def target_of(name: str) -> str:
    """Whose embedding is called so; the name of a target is its own."""
    return name.partition(".")[0]


def refuse_leak(target: Target, labeled: str, scored_speakers: Collection[str]) -> None:
    """Refuse a target whose teacher has heard test or validation speakers of a student's fold.

    Args:
        target: of any kind of teacher; one that does not say whom it has heard is the caller's to judge.
        labeled: name of the student's labeled set, joined of several or not; the same speaker's name in another set is
            another speaker.
        scored_speakers: of the student's fold.
    """
    tuned = target.tuned_on
    both = sorted(tuned.heard_of(labeled, scored_speakers)) if tuned else []
    if tuned and both:
        raise UserError(
            f"The teacher of {target.name} was tuned on speakers {', '.join(both)} of {tuned.labeled} (fold "
            f"{tuned.fold}), on whom the student would be scored. Take the teacher of the student's own fold."
        )


def more_labels(target: Target, labeled: str, fraction: float) -> str:
    """In words, that its teacher was tuned on a larger share of a student's labeled set than the student has; or "".

    It would tell the student of labels that the student is said to do without.
    """
    tuned = target.tuned_on
    if not (tuned and tuned.shares_sets_with(labeled) and tuned.labeled_fraction > fraction):
        return ""
    return (
        f"The teacher of {target.name} was tuned on {tuned.labeled_fraction:.0%} of {labeled}'s training recordings, "
        f"and the student learns from {fraction:.0%}. Tune one with finetune_speech_teacher.py "
        f"--train.labeled_fraction {fraction:g}, and label with it."
    )

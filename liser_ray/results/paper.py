"""Published numbers: of LiSER's paper (Pendyala, Morgado, Sethares, Interspeech 2025), EmoDistill's and others'."""

import re
from dataclasses import dataclass

BASE = "no-dstl"
CONFIGURATIONS = (BASE, "vid-dstl", "sp-dstl", "vid-sp-dstl", "conf-vid-sp-dstl")
"""Recipes of Table 2, in its order."""

PAPER_SETS = {"ravdess": "RAVDESS", "cremad": "CREMA-D"}


@dataclass(frozen=True)
class PaperScore:
    """Of a five-fold cross-validation, 0..1; the paper prints no intervals."""

    uar: float
    war: float


PAPER = {
    # Table 2
    ("no-dstl", "ravdess"): PaperScore(0.517, 0.535),
    ("vid-dstl", "ravdess"): PaperScore(0.534, 0.547),
    ("sp-dstl", "ravdess"): PaperScore(0.545, 0.556),
    ("vid-sp-dstl", "ravdess"): PaperScore(0.556, 0.570),
    ("conf-vid-sp-dstl", "ravdess"): PaperScore(0.595, 0.611),
    ("no-dstl", "cremad"): PaperScore(0.551, 0.550),
    ("vid-dstl", "cremad"): PaperScore(0.576, 0.575),
    ("sp-dstl", "cremad"): PaperScore(0.576, 0.575),
    ("vid-sp-dstl", "cremad"): PaperScore(0.584, 0.583),
    ("conf-vid-sp-dstl", "cremad"): PaperScore(0.578, 0.576),
    # Table 3, the ablations: cross-entropy in place of MAE to distill; first distill, then tune on labels
    ("vid-dstl+distill-ce", "ravdess"): PaperScore(0.523, 0.540),
    ("sp-dstl+distill-ce", "ravdess"): PaperScore(0.540, 0.546),
    ("vid-dstl+two-stage", "ravdess"): PaperScore(0.464, 0.485),
    ("sp-dstl+two-stage", "ravdess"): PaperScore(0.511, 0.528),
}
"""Of (recipe, set)."""

PAPERS_BEST = ("conf-vid-sp-dstl", "ravdess")
"""Recipe and set of its best score on RAVDESS."""

FIGURE_2 = "On CREMA-D, vid-sp-dstl with half of the labeled data is better than no-dstl with all of it."
"""All that is known of Figure 2: the paper prints no numbers."""


@dataclass(frozen=True)
class EmoDistillRow:
    """A row of EmoDistill's tables (Shome and Etemad, ICASSP 2024): IEMOCAP, four classes, ten folds of a speaker each.

    Attributes:
        what: is different.
        recipe: of our student of it; "" where it is no student.
        base: with HuBERT base as the student, or a teacher by itself; the paper calls WAR weighted accuracy (WA) and
            UAR unweighted accuracy (UA).
        large: with HuBERT large, where it is printed.
    """

    what: str
    recipe: str
    base: PaperScore
    large: PaperScore | None = None


EMODISTILL = (
    EmoDistillRow("whole", "emodistill", PaperScore(0.7612, 0.7516), PaperScore(0.7891, 0.7749)),
    EmoDistillRow("without L_logit", "emodistill-without-logits", PaperScore(0.7402, 0.7394)),
    EmoDistillRow("without L_emb", "emodistill-without-embeddings", PaperScore(0.7401, 0.7388)),
    EmoDistillRow("without the prosodic teacher", "emodistill-without-prosody", PaperScore(0.7282, 0.7409)),
    EmoDistillRow("without the linguistic teacher", "emodistill-without-words", PaperScore(0.6727, 0.6601)),
    EmoDistillRow("without both teachers", "strong", PaperScore(0.7017, 0.6992)),
    EmoDistillRow("prosodic teacher alone", "", PaperScore(0.5008, 0.4942)),
    EmoDistillRow("linguistic teacher alone", "", PaperScore(0.7183, 0.7109)),
)
"""As the paper's tables have them; its abstract calls 77.49 % unweighted and 78.91 % weighted accuracy."""


@dataclass(frozen=True)
class Published:
    """What others have on RAVDESS' eight emotions, from sound alone."""

    what: str  # the model, or who listened
    score: str  # as it is printed, 0..1
    remark: str  # what to know before comparing
    source: str = ""  # where the number stands; "" if it is known by hearsay


OTHERS = (
    Published("people who listen", ".67", "as it is usually quoted"),
    Published("HuBERT base, frozen", ".654", "94.6 million parameters, pretrained on 960 h of speech"),
    Published(
        "ResLSTM-SA, hidden size 64",
        ".623",
        "46,772 parameters; mean of ten runs, best .652; its settings were chosen on the test speakers",
        "https://github.com/Mak-Sim/ResLSTM-SER",
    ),
)

_FEWER_LABELS = re.compile(r"(.+)\+(\d+)%-labels")


def paper_order(recipe: str) -> tuple[int, str]:
    """To sort recipes by: those of the paper in its order, then others by name."""
    return (CONFIGURATIONS.index(recipe) if recipe in CONFIGURATIONS else len(CONFIGURATIONS)), recipe


def set_name(labeled: str) -> str:
    """A set's name as it is written: "RAVDESS" for "ravdess"; that of a manifest stays."""
    return PAPER_SETS.get(labeled, labeled)


def with_share(recipe: str, percent: int) -> str:
    """Name of a recipe that is given a share of the labels, 1 to 100 percent: "no-dstl+50%-labels"."""
    return recipe if percent == 100 else f"{recipe}+{percent}%-labels"


def share_of(recipe: str) -> tuple[str, int]:
    """Name of the recipe without its share of the labels, and the share in percent; the inverse of `with_share`."""
    found = _FEWER_LABELS.fullmatch(recipe)
    return (found[1], int(found[2])) if found else (recipe, 100)

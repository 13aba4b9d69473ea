"""Which tables to make, and of what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from liser_ray.results.paper import EMODISTILL
from liser_ray.runtime.errors import UserError
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import read_recipe

Paper = Literal["liser", "emodistill"]
Part = Literal["table-2", "table-3", "figure-2"]


@dataclass(frozen=True)
class ReproductionConfig(StudentConfig):
    """Train the configurations of a paper's tables, and set their scores beside the paper's.

    Attributes:
        paper: LiSER's Tables 2 and 3 and Figure 2, or EmoDistill's rows with our student (recipes emodistill ...
            and strong) and the labels of a prosodic and a linguistic teacher for each fold, as --distil_labeled,
            --unlabeled or both.
        labeled: labeled sets, such as ravdess:FOLDER cremad:FOLDER.
        unlabeled: output of label_corpus.py, with the labels of a speech teacher for each fold of each set. Without it
            only what learns from labels alone is run.
        output: folder or s3:// prefix for runs/, records/, tables.md and pictures. The same command goes on where it
            was.
        recipe: those of the tables; leave it out.
        seeds: numbers such as 0,1,2.
        parts: what to run of LiSER's: table-2, table-3 (ablations, on RAVDESS), figure-2 (fewer labels, on CREMA-D).
        shares: of the labels, in percent, for figure-2, beside all of them.
        unlabeled_at: for figure-2 the table of each share, by the share: its speech teachers were tuned with it as
            --train.labeled_fraction (25: 0.25). A share without one is run from labels alone.
        searches: folder or s3:// prefix of searches by tune_lambdas.py, an --output each as SET/RECIPE, such as
            ravdess/sp-dstl: λ of each set and configuration are those of its best.yaml. Without it they are those of
            --loss.lambdas, or 1, the same everywhere.
        records: make tables and pictures from the records in this folder or s3:// prefix, and train nothing.
        readme: Markdown files whose marked places get the tables; pictures go beside the first one into docs/images.
    """

    paper: Paper = "liser"
    labeled: list[str] = field(default_factory=list)  # each with its own students
    output: str = "out/tables"
    seeds: str = "0,1,2"
    parts: list[Part] = field(default_factory=lambda: ["table-2", "table-3", "figure-2"])
    shares: str = "25,50,75"
    unlabeled_at: dict[str, str] = field(default_factory=dict)
    searches: str = ""
    records: str = ""
    readme: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = {str(share): table for share, table in self.unlabeled_at.items()}  # YAML has them as numbers
        object.__setattr__(self, "unlabeled_at", shares)
        if self.recipe != StudentConfig.recipe:
            raise UserError("The recipes are those of the tables: leave out --recipe, or train it by train_student.py.")
        if self.train.labeled_by != "recording" and self.paper == "liser" and "figure-2" in self.parts:
            raise UserError("Figure 2 takes a share of each label's recordings: leave out --train.labeled_by.")
        if self.folds == "none":
            raise UserError("Tables are of test speakers: students of all speakers have none. Leave out --folds none.")
        of_liser = ("parts", "shares", "unlabeled_at", "searches")
        if self.paper != "liser":
            plain = ReproductionConfig()
            idle = [one for one in of_liser if getattr(self, one) != getattr(plain, one)]
            if idle:
                raise UserError(f"--{idle[0]} is of LiSER's tables: leave it out with --paper {self.paper}.")


def defaults_of_paper(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 (settings with a paper)
    """What the recipes of a paper's tables have in place of LiSER's settings, by the fields' names, with dots."""
    return read_recipe(EMODISTILL[0].recipe).settings if given.paper == "emodistill" else {}

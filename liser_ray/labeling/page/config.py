"""Settings of the job that makes the page again."""

from dataclasses import dataclass

from liser_ray.runtime.errors import UserError


@dataclass(frozen=True)
class ReportConfig:
    """Write the page on what a labeling job has labeled so far.

    Attributes:
        output: the --output of label_corpus.py: a folder or s3:// prefix.
        contact_sheet: how many faces of labeled spans to show, drawn at random; the page then shows people. 0: none.
    """

    output: str = "out/demo"
    contact_sheet: int = 0

    def __post_init__(self) -> None:
        if self.contact_sheet < 0:
            raise UserError(f"contact_sheet is {self.contact_sheet}: give 0 (no faces) or more.")

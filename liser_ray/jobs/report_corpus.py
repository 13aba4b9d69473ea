"""The page of a labeling job, made again: ``python jobs/report_corpus.py --output DIR``."""

from collections.abc import Sequence

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling.config import ReportConfig

DESCRIPTION = """\
Write report.html, the page on what a labeling job has labeled, from its table as it is now. The job may be finished,
interrupted or still running; nothing but the page is written.

  python jobs/report_corpus.py --output out/labels
  python jobs/report_corpus.py --output s3://bucket/labels --contact_sheet 48
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the settings, write the page, say where it is."""
    config = parse_settings(ReportConfig, DESCRIPTION, argv)
    # What follows is imported where it is needed: Matplotlib and scikit-learn take seconds.
    from liser_ray.labeling.page.page import make_page
    from liser_ray.labeling.resume import OutputFolders
    from liser_ray.storage.addresses import absolute

    folders = OutputFolders(absolute(config.output))
    make_page(folders, config.contact_sheet)
    print(f"Page: {folders.page}")

"""What says which version this is says the same everywhere."""

import re
from pathlib import Path

import pytest
import yaml

from liser_ray import __version__

ROOT = Path(__file__).parents[1]


def test_who_cites_and_who_reads_the_changes_is_told_the_version_that_runs():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version, date = re.findall(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert (citation["version"], citation["date-released"]) == (version, date)
    assert version == __version__


@pytest.mark.parametrize("file", ["deploy/Dockerfile", "deploy/kuberay/label-job.yaml", "docs/cluster.md"])
def test_an_image_is_called_after_the_version(file):
    assert {*re.findall(r"/liser:([\d.]+\d)", (ROOT / file).read_text())} == {__version__}

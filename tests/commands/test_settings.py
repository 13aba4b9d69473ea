import pytest

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling.config import LabelConfig
from liser_ray.runtime.errors import UserError
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import to_yaml
from liser_ray.storage.files import write_bytes
from liser_ray.student.training.config import StudentConfig
from liser_ray.student.training.recipes import defaults_of


def test_settings_may_lie_on_s3(s3_store):
    config = SearchConfig(labeled="x.csv", space=["loss.lambdas.speech=0.1,1"], samples=7)
    folder = f"s3://{s3_store.bucket()}/search"
    write_bytes(f"{folder}/settings.yaml", to_yaml(config))
    arguments = ["--config", f"{folder}/settings.yaml", "--samples", "8"]
    found = parse_settings(SearchConfig, "", arguments)
    assert (found.labeled, found.space, found.samples) == (config.labeled, config.space, 8)
    with pytest.raises(UserError, match=r"nothing\.yaml can't be read"):
        parse_settings(SearchConfig, "", ["--config", f"{folder}/nothing.yaml"])


@pytest.mark.parametrize("recipe", ["strong", "pretext-energy", "emodistill"])
def test_settings_that_are_printed_are_those_that_follow_from_the_others(tmp_path, capsys, recipe):
    def read(*given):
        return parse_settings(StudentConfig, "", given, defaults=defaults_of)

    with pytest.raises(SystemExit):
        read("--recipe", recipe, "--train.epochs", "7", "--print_config")
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert read("--config", str(tmp_path / "printed.yaml")) == read("--recipe", recipe, "--train.epochs", "7")


@pytest.mark.parametrize("given", [["a", "b"], ["[a, b]"], ['["a","b"]']])
def test_several_values_stand_side_by_side_or_in_brackets(given):
    """Brackets are how a settings file has them: taken for one value, they would name nothing that there is."""
    found = parse_settings(SearchConfig, "", ["--labeled", "x.csv", "--space", *given], lists=("--space",))
    assert found.space == ["a", "b"]


def test_a_list_is_given_once_and_an_equals_sign_is_as_good_as_a_space():
    found = parse_settings(
        SearchConfig, "", ["--labeled=x.csv", "--space=loss.lambdas.speech=0.1,1"], lists=("--space",)
    )
    assert (found.labeled, found.space) == ("x.csv", ["loss.lambdas.speech=0.1,1"])
    with pytest.raises(UserError, match="--space is given twice"):
        parse_settings(SearchConfig, "", ["--space", "a", "--space=b"], lists=("--space",))


def test_what_is_true_or_false_may_stand_alone():
    """However deep it lies, before another option or at the end, or with its value."""
    found = parse_settings(StudentConfig, "", ["--train.two_stage", "--labeled", "x.csv", "--gate"])
    assert (found.train.two_stage, found.labeled, found.gate) == (True, "x.csv", True)
    assert not parse_settings(StudentConfig, "", ["--train.two_stage", "false"]).train.two_stage
    trusted = parse_settings(LabelConfig, "", ["--trust_remote_code", "--dry_run", "--output", "out"])
    assert (trusted.trust_remote_code, trusted.dry_run, trusted.output) == (True, True, "out")

"""The demo's λ search: two values for each teacher, on the labels that the demo has made."""

from pathlib import Path

from liser_ray.demo.students import TRAIN
from liser_ray.search.config import SearchConfig
from liser_ray.search.job import search
from liser_ray.search.results import score_text
from liser_ray.search.space import setting_name

SPACE = ["loss.lambda_sd=0.5,5", "loss.lambda_vd=0.5,5"]


def search_lambdas(folder: Path) -> None:
    """Find λ_sd and λ_vd on the validation speakers, and print them.

    Args:
        folder: of the demo, labeled.
    """
    result = search(
        SearchConfig(
            labeled=str(folder / "corpus/audio/labels.csv"),
            unlabeled=str(folder),
            output=str(folder / "search"),
            space=SPACE,
            train=TRAIN,
        )
    )
    best = result.best
    print(f"      best on the validation speakers: {setting_name(best.setting)}, UAR {score_text(best)}")
    print(f"Search: {result.output}/trials.parquet, heat_map.png, best.yaml")

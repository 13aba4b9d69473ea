"""What unlabeled speech brings, from committed records: the tables and pictures of docs/evidence.md.

`python benchmarks/evidence.py` reads the records of each experiment below benchmarks/results/ and writes between the
markers of the page, and of the README the arms of those in `IN_README`. Each experiment's design is a file beside its
records, with the commands; run arms go into its folder as they come. Experiments that are of a student alone
have their tables there. What a labeling job of both real teachers found on videos is of its run card.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from liser_ray.evaluation.conditions import CONDITIONS
from liser_ray.results.records import Record, read_records
from liser_ray.results.scores import Interval, interval, paired_difference, pooled
from liser_ray.results.style import BLUE, GREY, make_figure, to_png
from liser_ray.results.tables import interval_text, score_text, write_between_markers

ROOT = Path(__file__).resolve().parents[1]
PAGE, README = ROOT / "docs" / "evidence.md", ROOT / "README.md"
RECORDS = ROOT / "benchmarks" / "results"

Differences = Mapping[tuple[str, str], Interval]
"""Of pairs of arms."""

IN_README = ("fewer_labels_again", "all_labels")


def above(difference: Interval, least: float = 0.0) -> bool:
    """Whether it is so much or more, with its interval above 0."""
    return difference.value >= least and difference.low > 0


@dataclass(frozen=True)
class Experiment:
    """Arms beside one another.

    Attributes:
        arms: what each is called here, to its folder of records and the recipe they are of.
        pairs: differences of arms that say what came of it.
        share: of the last pair's difference, the first pair's share is said; "": no.
        success: what it was to be, in words: whether it is so, by the differences of whole recordings, and of those
            that are asked every half second: as recorded, and in the mean over the other conditions.
        conditions: folder with a folder of records for each condition of `evaluate`, of some arms; None: none.
        page: that has the tables between its markers.
        seeds: those that its design names, or that all arms have so far; (): all that there are.
    """

    arms: Mapping[str, tuple[Path, str]]
    pairs: Sequence[tuple[str, str]]
    share: str = ""
    success: Mapping[str, Callable[[Differences, Differences, Differences], bool]] = field(default_factory=dict)
    conditions: Path | None = None
    page: Path = PAGE
    seeds: Sequence[int] = ()


SEARCH, SEARCH_WITH_ALL = RECORDS / "few_labels_search", RECORDS / "all_labels_search"
LEVELS = {
    "16 labeled recordings in a step, not 8": ("cd", "ab"),
    "the studio, not both corpora": ("bd", "ac"),
    "in pieces and among other people, not as it is": ("ad", "bc"),
}

EXPERIMENTS = {
    **{
        name: Experiment(
            {
                "six": (RECORDS / "fewer_labels", "robust+62-steps+35%-speakers"),
                "taught": (RECORDS / name, "robust-sp-dstl+62-steps+35%-speakers"),
                "placebo": (RECORDS / name, "robust-sp-dstl+placebo+62-steps+35%-speakers"),
                "all": (ROOT / "results", "robust"),
                "the teacher": (RECORDS / "fewer_labels", "no-dstl+35%-speakers+whisper_tiny_en+head"),
            },
            [("taught", "six"), ("taught", "placebo"), ("placebo", "six"), ("all", "six")],
            "of the gap between six actors' labels and seventeen's",
            {
                "at least a quarter of that gap, with an interval above 0": lambda whole, *_: above(
                    whole["taught", "six"], 0.25 * whole["all", "six"].value
                ),
                "above the placebo, with an interval above 0": lambda whole, *_: above(whole["taught", "placebo"]),
            },
            RECORDS / f"{name}_in_conditions",
        )
        for name in ("fewer_labels", "fewer_labels_again")
    },
    "all_labels": Experiment(
        {
            arm: (RECORDS / "all_labels", f"{recipe}+65-steps")
            for arm, recipe in {
                "labels": "robust",
                "strangers": "robust-sp-emb+aligned",
                "placebo": "robust-sp-emb+placebo+aligned",
                "own": "robust-sp-dstl+distil-labeled-only",
                "both": "robust-sp-emb+distil-labeled+aligned",
            }.items()
        },
        [
            ("both", "labels"),
            ("strangers", "placebo"),
            ("strangers", "labels"),
            ("own", "labels"),
            ("both", "strangers"),
        ],
        success={
            "both − labels is .02 or more, with an interval above 0": lambda whole, *_: above(
                whole["both", "labels"], 0.02
            ),
            "strangers − placebo has an interval above 0": lambda whole, *_: above(whole["strangers", "placebo"]),
            "both − labels is more in the other conditions, in the mean, with an interval above 0": (
                lambda whole, recorded, others: above(others["both", "labels"], recorded["both", "labels"].value)
            ),
        },
        conditions=RECORDS / "all_labels_in_conditions",
        seeds=(0,),  # those that all arms have: of seed 1 there are the labels so far
    ),
    **{
        name: Experiment(
            {
                "none": (RECORDS / name, "strong+65-steps"),
                "pretext": (RECORDS / name, "pretext-energy+65-steps"),
                "placebo": (RECORDS / name, "pretext-energy+placebo+65-steps"),
            },
            [("pretext", "none"), ("pretext", "placebo"), ("placebo", "none")],
            conditions=RECORDS / f"{name}_in_conditions",
        )
        for name in ("pretext", "pretext_cremad")
    },
    "arithmetic": Experiment(
        {"bfloat16": (RECORDS / "arithmetic", "robust"), "float32": (ROOT / "results", "robust")},
        [("bfloat16", "float32")],
    ),
    **{
        name: Experiment(
            {"none": (RECORDS / of, "strong+65-steps")}
            | {arm: (RECORDS / name, f"strong+65-steps+{more}") for arm, more in arms.items()},
            [(arm, "none") for arm in arms],
            page=RECORDS / f"{name}.md",
            seeds=seeds,
        )
        for name, of, seeds, arms in (
            ("pseudo_labels", "pretext", (0, 1, 2), {"clusters": "10-clusters"}),
            ("votes", "pretext_cremad", (0, 1), {"votes": "votes", "penalty": "penalty", "both": "votes+penalty"}),
        )
    },
}


def main() -> None:
    for name, experiment in EXPERIMENTS.items():
        found = read_arms(experiment.arms, experiment.seeds)
        differences = compare(found, experiment.pairs)
        tables = f"{arms_table(found)}\n\n{differences_table(differences)}"
        if experiment.share and len(differences) == len(experiment.pairs):
            first, *_, last = differences.values()
            tables += f"\n\nThe first difference is **{first.value / last.value:.0%}** {experiment.share}."
        conditions = read_conditions(experiment)
        if experiment.success:
            in_conditions = conditions.get("recorded", {}), mean_of_others(conditions)
            known = differences, *(compare(arms, experiment.pairs) for arms in in_conditions)
            tables += f"\n\n{success_list(experiment, known)}"
        if conditions:
            tables += "\n\n" + conditions_table(experiment, conditions)
        fill(experiment.page, name, tables)
        if name in IN_README:
            fill(README, name, arms_table(found))
        if experiment.page == PAGE:
            (ROOT / "docs" / "images" / f"{name}.png").write_bytes(plot(found, differences))
        print(tables, end="\n\n")
    fill(SEARCH.with_suffix(".md"), "search", search_table())
    fill(SEARCH_WITH_ALL.with_suffix(".md"), "search", search_with_all_table())
    fill(RECORDS / "whisper_teachers.md", "copies", copies_table())
    fill(PAGE, "audio_visual", labels_table(RECORDS / "audio_visual.json"))


def fill(page: Path, name: str, text: str) -> None:
    page.write_text(write_between_markers(page.read_text(), name, text))


def read_arms(arms: Mapping[str, tuple[Path, str]], seeds: Sequence[int] = ()) -> dict[str, list[Record]]:
    """Records of the arms that have any, by seed: of these, or of all."""
    found = {
        arm: sorted(
            (one for one in read_records(str(folder)) if one.recipe == recipe and one.seed in (seeds or [one.seed])),
            key=lambda one: one.seed,
        )
        for arm, (folder, recipe) in arms.items()
    }
    return {arm: records for arm, records in found.items() if records}


def compare(arms: Mapping[str, Sequence[Record]], pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Interval]:
    """Differences of the pairs of which both arms are there."""
    there = [(one, other) for one, other in pairs if {one, other} <= arms.keys()]
    return {(one, other): paired_difference(arms[one], arms[other], "uar") for one, other in there}


def success_list(experiment: Experiment, known: tuple[Differences, Differences, Differences]) -> str:
    lines = ["Of what success was to be, with the seeds so far:", ""]
    for words, holds in experiment.success.items():
        try:
            answer = "yes" if holds(*known) else "no"
        except KeyError:  # an arm that is not there yet
            answer = "not known yet"
        lines.append(f"* {words}: **{answer}**;")
    return "\n".join(lines).removesuffix(";") + "."


def read_conditions(experiment: Experiment) -> dict[str, dict[str, list[Record]]]:
    """Records of the arms that have any, by condition and arm."""
    folder = experiment.conditions
    if folder is None:
        return {}
    return {
        name: read_arms({arm: (folder / name, of) for arm, (_, of) in experiment.arms.items()}, experiment.seeds)
        for name in CONDITIONS
        if (folder / name).is_dir()
    }


def mean_of_others(conditions: Mapping[str, Mapping[str, Sequence[Record]]]) -> dict[str, list[Record]]:
    """Of each arm what it is in the mean over all conditions but recordings as they are."""
    others = [arms for name, arms in conditions.items() if name != "recorded"]
    return {arm: summed(others, arm) for arm in others[0]} if others else {}


def conditions_table(experiment: Experiment, conditions: Mapping[str, Mapping[str, Sequence[Record]]]) -> str:
    """UAR and differences of the arms in each condition, and the mean over these."""
    rows = [(CONDITIONS[name].words, arms) for name, arms in conditions.items()]
    mean = f"**mean over the {len(conditions) - ('recorded' in conditions)}** (not as recorded)"
    rows.append((mean, mean_of_others(conditions)))
    arms = rows[0][1]
    pairs = [f"{one} − {other}" for one, other in compare(arms, experiment.pairs)]
    seeds = {arm: ", ".join(str(one.seed) for one in records) for arm, records in arms.items()}
    lines = [
        f"Seeds: {'; '.join(f'{arm} {numbers}' for arm, numbers in seeds.items())}; a window every half second.",
        "",
        f"| in the condition | {' | '.join([*arms, *pairs])} |",
        "|---" * (1 + len(arms) + len(pairs)) + "|",
    ]
    for words, arms in rows:
        cells = [score_text(pooled(records, "uar")) for records in arms.values()]
        cells += [interval_text(one) for one in compare(arms, experiment.pairs).values()]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summed(conditions: Sequence[Mapping[str, Sequence[Record]]], arm: str) -> list[Record]:
    """Of each seed the sum of its confusions: a speaker's UAR in it is the mean over the conditions.

    For a speaker has the same recordings in each.
    """
    found = []
    for same_seed in zip(*(arms[arm] for arms in conditions), strict=True):
        folds = [
            replace(of[0], confusions={name: sum(one.confusions[name] for one in of) for name in of[0].confusions})
            for of in zip(*(record.folds for record in same_seed), strict=True)
        ]
        found.append(replace(same_seed[0], folds=tuple(folds)))
    return found


def validated(record: Record) -> float:
    """UAR of the validation speakers, mean of the folds."""
    return float(np.mean([fold.validation_uar for fold in record.folds]))


def validation_table(rows: Mapping[str, Sequence[Record]]) -> str:
    lines = ["| run | seeds | validation UAR of each | mean |", "|---|---|---|---|"]
    for name, records in rows.items():
        scores, seeds = [validated(one) for one in records], ", ".join(str(one.seed) for one in records)
        lines.append(f"| {name} | {seeds} | {', '.join(map(score_text, scores))} | {score_text(np.mean(scores))} |")
    return "\n".join(lines)


def search_table() -> str:
    """Scores of each run and of the arms before it; and of each setting."""
    runs = {name: read_records(str(SEARCH / name)) for name in "abcd"}
    before = read_arms(EXPERIMENTS["fewer_labels"].arms)
    rows = runs | {f"{arm}, as it was": before[arm] for arm in ("six", "taught", "the teacher")}
    lines = [validation_table(rows), "", "| setting | difference of the means of two runs and two |", "|---|---|"]
    for words, levels in LEVELS.items():
        one, other = (np.mean([validated(one) for name in of for one in runs[name]]) for of in levels)
        lines.append(f"| {words} | {score_text(one - other)} |")
    return "\n".join(lines)


def search_with_all_table() -> str:
    """Scores of each setting, and of the search job's λ."""
    folders = [one for one in sorted(SEARCH_WITH_ALL.iterdir()) if one.is_dir()]
    lines = [validation_table({one.name.replace("_", ", "): read_records(str(one)) for one in folders})]
    for trial in pq.read_table(SEARCH_WITH_ALL / "lambdas.parquet").to_pylist():
        seeds, score = {run["seed"] for run in trial["runs"]}, score_text(trial["validation_uar"])
        lines.append(f"| own, λ {trial['loss.lambdas.speech']:g} | {', '.join(map(str, seeds))} | {score} | {score} |")
    return "\n".join(lines)


def copies_table() -> str:
    """Teachers without copies and with three: their scores in conditions, and as recorded in each fold."""
    folder = RECORDS / "whisper_teachers_in_conditions"
    names = [name for name in CONDITIONS if (folder / "plain" / name).is_dir()]
    plain, copies = ({name: read_records(str(folder / of / name)) for name in names} for of in ("plain", "copies"))
    lines = ["| in the condition | without copies | with three | difference, in pairs |", "|---|---|---|---|"]
    for name in names:
        one, other = plain[name], copies[name]
        found = interval(one, "uar"), interval(other, "uar"), paired_difference(other, one, "uar")
        lines.append(f"| {CONDITIONS[name].words} | {' | '.join(map(interval_text, found))} |")
    lines += ["", "| fold, as recorded | without copies | with three |", "|---|--:|--:|"]
    whole = [of["recorded"][0] for of in (plain, copies)]
    for number, fold in enumerate(whole[0].folds):
        uars = [pooled([replace(one, folds=one.folds[number : number + 1])], "uar") for one in whole]
        lines.append(f"| {fold.fold} | {' | '.join(map(score_text, uars))} |")
    return "\n".join(lines)


def labels_table(run_card: Path) -> str:
    """Of a labeling job: how much there was, and how often each teacher found each label."""
    card = json.loads(run_card.read_text())
    plan, results = card["plan"], card["results"]
    outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in results["rows"].items())
    lines = [
        f"{plan['recordings']:,} recordings, {plan['hours'] * 3600:.0f} s: {plan['spans']:,} spans, {outcomes}.",
        "",
        "| target | spans by the label that is the most probable in the mean |",
        "|---|---|",
    ]
    for target, counts in results["labels_by_class"].items():
        found = sorted(((n, label) for label, n in counts.items() if n), reverse=True)
        lines.append(f"| {target} | {', '.join(f'{label} {n}' for n, label in found)} |")
    return "\n".join(lines)


def arms_table(arms: Mapping[str, Sequence[Record]]) -> str:
    lines = ["| arm | seeds | UAR, 95 % over speakers and seeds | each seed |", "|---|---|---|---|"]
    for arm, records in arms.items():
        seeds = ", ".join(str(one.seed) for one in records)
        each = ", ".join(score_text(pooled([one], "uar")) for one in records)
        found = interval(records, "uar")
        lines.append(f"| {arm} | {seeds} | {interval_text(found)}{'†' * (found.n_seeds == 1)} | {each} |")
    if "†" in "".join(lines):
        lines += ["", "† over speakers alone: one seed."]
    return "\n".join(lines)


def differences_table(differences: Mapping[tuple[str, str], Interval]) -> str:
    lines = ["| in pairs, by speaker | UAR, 95 % | over |", "|---|---|---|"]
    lines += [f"| {one} − {other} | {interval_text(of)} | {of.over} |" for (one, other), of in differences.items()]
    return "\n".join(lines)


def plot(arms: Mapping[str, Sequence[Record]], differences: Mapping[tuple[str, str], Interval]) -> bytes:
    """Each arm's UAR, and the differences, with their intervals."""
    figure, (left, right) = make_figure(9, 1.4 + 0.4 * max(len(arms), len(differences)), 1, 2)
    scores = {arm: interval(records, "uar") for arm, records in arms.items()}
    named = {f"{one} − {other}": of for (one, other), of in differences.items()}
    for axes, values, words in ((left, scores, "UAR"), (right, named, "difference of UAR, in pairs")):
        found = [*values.values()]
        reach = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
        axes.errorbar([one.value for one in found], range(len(found)), xerr=reach, fmt="o", color=BLUE, capsize=3)
        for row, one in enumerate(found):
            axes.annotate(score_text(one.value), (one.value, row), (0, 6), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(found)), [*values])
        axes.set_ylim(len(found) - 0.5, -0.7)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(words)
    right.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
    return to_png(figure)


if __name__ == "__main__":
    main()

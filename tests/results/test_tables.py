import pytest
from small_records import confusion, make_record, random_record

from liser_ray.results.paper import CONFIGURATIONS, share_of, with_share
from liser_ray.results.scores import Interval
from liser_ray.results.tables import (
    differences_table,
    emodistill_table,
    interval_text,
    others_table,
    recalls_table,
    results_table,
    score_text,
    sexes_table,
    table_2,
    table_3,
    write_between_markers,
)
from liser_ray.runtime.errors import UserError

NOTE = "† One seed: the interval is over speakers alone."
MARKED = "# A\n<!-- results:one -->\nold\n<!-- /results:one -->\nB\n<!-- results:two --><!-- /results:two -->"


def cells(table):
    """Rows of a Markdown table; the line below the head, notes below the table and their marks are left out."""
    lines = [line for line in table.replace("†", "").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in rows}) == 1
    return [rows[0], *rows[2:]]


def equal_speakers(calm, sad, sexes=None, **named):
    """Three speakers with the same counts, so that intervals have no width."""
    return make_record(*({speaker: confusion(calm, sad)} for speaker in "123"), sexes=sexes, **named)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5174, ".517"),
        (0.9996, "1.000"),
        (-0.0123, "−.012"),
        (-0.0004, ".000"),
        (-1.0, "−1.000"),
        (float("nan"), "—"),
    ],
)
def test_numbers_have_three_decimals(value, text):
    assert score_text(value) == text


def test_intervals_are_in_brackets():
    assert interval_text(Interval(-0.01, -0.02, 0.0)) == "−.010 [−.020, .000]"


@pytest.mark.parametrize(
    ("recipe", "percent", "name"), [("sp-dstl+two-stage", 5, "sp-dstl+two-stage+5%-labels"), ("a", 100, "a")]
)
def test_names_of_recipes_with_fewer_labels(recipe, percent, name):
    assert with_share(recipe, percent) == name
    assert share_of(name) == (recipe, percent)


def test_results():
    records = [
        equal_speakers("3/4", "1/2", recipe="my-own"),
        equal_speakers("3/4", "1/2", labeled="cremad"),
        *(equal_speakers(f"{2 * seed}/4", "2/2", seed=seed) for seed in (0, 1)),
        equal_speakers("4/4", "1/2", labeled="a|b"),
    ]
    records[-1].content["machines"] = [{"cpu": "Xeon", "threads": 2, "precision": "bfloat16"}]
    table = results_table(records)
    head, *rows = cells(table.replace(r"a\|b", "a b"))
    assert head == ["recipe", "set", "seeds", "UAR", "WAR", "macro-F1", "paper's UAR", "paper's WAR"]
    # calm 0 then 2 of 4, sad 2 of 2: F1 0 and 4 / 8, then 4 / 6 and 4 / 6
    ours = [".625 [.500, .750]", ".500 [.333, .667]", ".458"]
    assert rows[0] == ["no-dstl", "RAVDESS", "2", *ours, ".517", ".535"]
    assert rows[1][:4] == ["my-own", "RAVDESS", "1", ".625 [.625, .625]"]
    assert rows[1][6:] == ["—", "—"]
    assert [row[:2] for row in rows[2:]] == [["no-dstl", "CREMA-D"], ["no-dstl", "a b"]]
    assert rows[2][6:] == [".551", ".550"]
    assert table.count("†") == 3 * 2 + 1
    assert NOTE in table
    assert "Both sentences of RAVDESS" in table
    assert table.endswith("\nTrained on Xeon, 2 threads, bfloat16.\n")
    other = results_table(records[1:2])
    assert "sentences" not in other
    assert "Trained on" not in other


def test_others_stand_beside_our_speakers_who_chose_nothing():
    records = [
        make_record({"1": confusion("4/4", "4/4")}, {"2": confusion("2/4", "4/4")}, seed=seed) for seed in range(2)
    ]
    records += [equal_speakers("2/4", "2/4", recipe="low"), equal_speakers("4/4", "4/4", labeled="cremad")]
    table = others_table(records, {"2"})
    head, *rows = cells(table)
    assert head[2] == "UAR of the 1 who validated no fold"
    assert rows[0][:3] == ["no-dstl", ".875 [.750, 1.000]", ".750 [—]"]
    assert rows[1][:3] == ["low", ".500 [.500, .500]", ".500 [—]"]
    assert [row[1] for row in rows[2:]] == [".67", ".654", ".623"]
    assert "lies outside that of no-dstl (.875 [.750, 1.000]), low (.500 [.500, .500])." in table
    between = [make_record({"1": confusion("1/4", "2/4"), "2": confusion("4/4", "4/4")})]
    verdict = "The paper's best, conf-vid-sp-dstl with .595, lies inside the interval of no-dstl."
    assert verdict in others_table(between, {"1"})


def test_differences():
    records = [
        equal_speakers("2/4", "2/4"),
        equal_speakers("3/4", "2/4", recipe="sp-dstl"),
        equal_speakers("1/4", "2/4", recipe="vid-dstl"),
        equal_speakers("3/4", "2/4", recipe="sp-dstl", labeled="cremad"),
    ]
    table = differences_table(records)
    assert cells(table) == [
        ["recipe − no-dstl", "set", "UAR", "WAR"],
        ["vid-dstl", "RAVDESS", "−.125 [−.125, −.125]", "−.125 [−.125, −.125]"],
        ["sp-dstl", "RAVDESS", ".125 [.125, .125]", ".125 [.125, .125]"],
    ]
    assert NOTE in table
    several = [equal_speakers("2/4", "2/4", recipe=r, seed=seed) for r in ("no-dstl", "sp-dstl") for seed in (0, 1)]
    assert "†" not in differences_table(several)


def test_recalls():
    records = [equal_speakers("2/4", "2/4"), equal_speakers("3/4", "1/4", recipe="sp-dstl")]
    assert cells(recalls_table(records)) == [
        ["recipe", "calm", "sad"],
        ["no-dstl", ".500", ".500"],
        ["sp-dstl", ".750", ".250"],
    ]
    with pytest.raises(UserError, match="of one set, not of 2"):
        recalls_table([*records, random_record(labels=("x", "y"))])


def test_sexes():
    records = [
        equal_speakers("2/4", "4/4", {"1": "man", "2": "woman", "3": "woman"}),
        equal_speakers("1/4", "1/4", {"1": "man"}, recipe="sp-dstl"),
        equal_speakers("1/4", "1/4", labeled="cremad"),
    ]
    assert cells(sexes_table(records)) == [
        ["recipe", "set", "men's UAR", "women's UAR"],
        ["no-dstl", "RAVDESS", ".750 [—], n = 1", ".750 [.750, .750], n = 2"],
        ["sp-dstl", "RAVDESS", ".250 [—], n = 1", "—"],
    ]


def test_table_2_has_the_papers_rows_whatever_has_run():
    head, *rows = cells(table_2([equal_speakers("2/4", "4/4", recipe="sp-dstl", labeled="cremad")]))
    assert head[1:5] == ["RAVDESS UAR", "RAVDESS paper", "RAVDESS WAR", "RAVDESS paper"]
    assert [row[0] for row in rows] == list(CONFIGURATIONS)
    ran = [".750 [.750, .750]", ".576", ".750 [.750, .750]", ".575"]
    assert rows[2] == ["sp-dstl", "not run", ".545", "not run", ".556", *ran]
    assert rows[4][1:] == ["not run", ".595", "not run", ".611", "not run", ".578", "not run", ".576"]


def test_table_3_has_the_ablations_below_the_method():
    _, *rows = cells(table_3([equal_speakers("2/4", "4/4", recipe="vid-dstl+two-stage")]))
    assert [row[0] for row in rows] == ["MAE, one stage", "CE in place of MAE", "two stages"]
    assert [row[2::2] for row in rows] == [
        [".534", ".547", ".545", ".556"],
        [".523", ".540", ".540", ".546"],
        [".464", ".485", ".511", ".528"],
    ]
    assert rows[2][1::2] == [".750 [.750, .750]", ".750 [.750, .750]", "not run", "not run"]
    assert rows[1][1] == "not run"


def test_a_student_without_one_of_emodistills_teachers_is_in_the_row_without_it():
    names = ("emodistill+distil-labeled", "emodistill+no-words+distil-labeled-only", "emodistill+no-words-embedding")
    rows = cells(emodistill_table([equal_speakers("4/5", "2/5", recipe=one) for one in names]))
    assert [row[0] for row in rows if row[1] in names] == ["whole", "whole", "without the linguistic teacher"]
    assert [row[1] for row in rows if row[0] == "without the linguistic teacher"] == [names[1]]


def test_what_stands_between_markers_is_replaced():
    once = write_between_markers(MARKED, "one", "| new |\n")
    assert once == MARKED.replace("old", "| new |")
    assert write_between_markers(once, "one", "| new |\n") == once
    assert write_between_markers(MARKED, "two", r"\1").endswith("<!-- results:two -->\n\\1\n<!-- /results:two -->")


@pytest.mark.parametrize("text", ["", "<!-- /results:one --><!-- results:one -->", MARKED + MARKED])
def test_a_file_without_markers_is_refused(text):
    with pytest.raises(UserError, match="write <!-- results:one --> and <!-- /results:one --> into the file"):
        write_between_markers(text, "one", "new")

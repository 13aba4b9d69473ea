import pytest
from small_records import confusion, make_record, random_record

from liser_ray.results.paper import CONFIGURATIONS, paper_score, share_of, with_share
from liser_ray.results.scores import Interval
from liser_ray.results.tables import (
    differences_table,
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


def cells(table):
    """Rows of a Markdown table; the line below the head and notes below the table are left out."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in rows}) == 1
    return [rows[0], *rows[2:]]


NOTE = "† One seed: the interval is over speakers alone."


def equal_speakers(calm, sad, sexes=None, **named):
    """Three speakers with the same counts, so that intervals have no width."""
    return make_record(*({speaker: confusion(calm, sad)} for speaker in "123"), sexes=sexes, **named)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.5174, ".517"),
            (0.0, ".000"),
            (1.0, "1.000"),
            (0.9996, "1.000"),
            (-0.0123, "−.012"),
            (-0.0004, ".000"),
            (-1.0, "−1.000"),
            (float("nan"), "—"),
        ],
    )
    def test_have_three_decimals(self, value, text):
        assert score_text(value) == text

    def test_intervals(self):
        assert interval_text(Interval(0.517, 0.47, 0.56)) == ".517 [.470, .560]"
        assert interval_text(Interval(-0.01, -0.02, 0.0)) == "−.010 [−.020, .000]"


class TestPaper:
    def test_its_numbers(self):
        assert (paper_score("conf-vid-sp-dstl", "ravdess").uar, paper_score("no-dstl", "cremad").war) == (0.595, 0.550)
        assert paper_score("sp-dstl+two-stage", "ravdess").war == 0.528
        assert paper_score("sp-dstl+two-stage", "cremad") is None

    def test_names_of_recipes_with_fewer_labels(self):
        for recipe, percent, name in (("sp-dstl+two-stage", 5, "sp-dstl+two-stage+5%-labels"), ("a", 100, "a")):
            assert with_share(recipe, percent) == name
            assert share_of(name) == (recipe, percent)


class TestTables:
    def test_results(self):
        records = [
            equal_speakers("3/4", "1/2", recipe="my-own"),
            equal_speakers("3/4", "1/2", labeled="cremad"),
            *(equal_speakers(f"{2 * seed}/4", "2/2", seed=seed) for seed in (0, 1)),
            equal_speakers("4/4", "1/2", labeled="a|b"),
        ]
        table = results_table(records, ["no-dstl", "my-own", "sp-dstl"])
        head, *rows = cells(table.replace(r"a\|b", "a b"))
        assert head == ["recipe", "set", "seeds", "UAR", "WAR", "macro-F1", "paper's UAR", "paper's WAR"]
        # calm 0 then 2 of 4, sad 2 of 2: F1 0 and 4 / 8, then 4 / 6 and 4 / 6
        assert rows[0] == [
            *["no-dstl", "RAVDESS", "2", ".625 [.500, .750]", ".500 [.333, .667]"],
            *[".458", ".517", ".535"],
        ]
        assert rows[1][:4] == ["my-own", "RAVDESS", "1", ".625 [.625, .625]†"]
        assert rows[1][6:] == ["—", "—"]
        assert [row[:2] for row in rows[2:4]] == [["no-dstl", "CREMA-D"], ["no-dstl", "a b"]]
        assert rows[2][6:] == [".551", ".550"]
        assert rows[4] == ["sp-dstl", "—", "0", "not run", "—", "—", "—", "—"]
        assert NOTE in table
        assert "Both sentences of RAVDESS" in table
        assert "sentences" not in results_table(records[1:2], ["no-dstl"])

    def test_the_machine_is_named_where_records_have_one(self):
        machine = {"cpu": "Xeon", "instructions": "AVX2", "threads": 2, "precision": "bfloat16"}
        records = [equal_speakers("3/4", "1/2", seed=seed) for seed in (0, 1)]
        records[1].content["machines"] = [machine]
        assert results_table(records, ["no-dstl"]).endswith("\nTrained on Xeon, 2 threads, bfloat16.\n")
        assert "Trained on" not in results_table(records[:1], ["no-dstl"])

    def test_others_stand_beside_our_speakers_who_chose_nothing(self):
        records = [
            make_record({"1": confusion("4/4", "4/4")}, {"2": confusion("2/4", "4/4")}, recipe=recipe, seed=seed)
            for recipe in ("no-dstl", "strong")
            for seed in range(2)
        ]
        records += [equal_speakers("2/4", "2/4", recipe="low"), equal_speakers("4/4", "4/4", labeled="cremad")]
        table = others_table(records, ["no-dstl", "low"], {"2"})
        head, *rows = cells(table)
        assert head[2] == "UAR of the 1 who validated no fold"
        assert rows[0][:3] == ["no-dstl", ".875 [.750, 1.000]", ".750 [.750, .750]"]
        assert rows[1][:3] == ["low", ".500 [.500, .500]†", ".500 [.500, .500]†"]
        assert [row[1] for row in rows[2:]] == [".67", ".654", ".623"]
        assert "lies outside that of no-dstl (.875 [.750, 1.000]), low (.500 [.500, .500])." in table
        between = [make_record({"1": confusion("1/4", "2/4"), "2": confusion("4/4", "4/4")})]
        assert "The paper's best, conf-vid-sp-dstl with .595, lies inside the interval of no-dstl." in others_table(
            between, ["no-dstl"], {"1"}
        )

    def test_differences(self):
        records = [
            equal_speakers("2/4", "2/4"),
            equal_speakers("3/4", "2/4", recipe="sp-dstl"),
            equal_speakers("1/4", "2/4", recipe="vid-dstl"),
            equal_speakers("3/4", "2/4", recipe="sp-dstl", labeled="cremad"),
        ]
        table = differences_table(records, ["no-dstl", "vid-dstl", "sp-dstl", "never"])
        assert cells(table.replace("†", "", 4)) == [
            ["recipe − no-dstl", "set", "UAR", "WAR"],
            ["vid-dstl", "RAVDESS", "−.125 [−.125, −.125]", "−.125 [−.125, −.125]"],
            ["sp-dstl", "RAVDESS", ".125 [.125, .125]", ".125 [.125, .125]"],
        ]
        assert NOTE in table
        several = [equal_speakers("2/4", "2/4", recipe=r, seed=seed) for r in ("no-dstl", "sp-dstl") for seed in (0, 1)]
        assert "†" not in differences_table(several, ["sp-dstl"])

    def test_recalls(self):
        records = [equal_speakers("2/4", "2/4"), equal_speakers("3/4", "1/4", recipe="sp-dstl")]
        assert cells(recalls_table(records, ["sp-dstl", "no-dstl", "never"])) == [
            ["recipe", "calm", "sad"],
            ["sp-dstl", ".750", ".250"],
            ["no-dstl", ".500", ".500"],
        ]
        with pytest.raises(UserError, match="of one set, not of 2"):
            recalls_table([*records, random_record(labels=("x", "y"), labeled="cremad")], ["no-dstl"])

    def test_sexes(self):
        sexes = {"1": "man", "2": "woman", "3": "woman"}
        records = [
            equal_speakers("2/4", "4/4", sexes),
            equal_speakers("1/4", "1/4", {"1": "man"}, recipe="sp-dstl"),
            equal_speakers("1/4", "1/4", labeled="cremad"),
        ]
        assert cells(sexes_table(records, ["no-dstl", "sp-dstl"]).replace("†", "")) == [
            ["recipe", "set", "men's UAR", "women's UAR"],
            ["no-dstl", "RAVDESS", ".750 [.750, .750], n = 1", ".750 [.750, .750], n = 2"],
            ["sp-dstl", "RAVDESS", ".250 [.250, .250], n = 1", "—"],
        ]

    def test_table_2_has_the_papers_rows_whatever_has_run(self):
        records = [equal_speakers("2/4", "4/4", recipe="sp-dstl", labeled="cremad")]
        head, *rows = cells(table_2(records).replace("†", ""))
        assert head[1:5] == ["RAVDESS UAR", "RAVDESS paper", "RAVDESS WAR", "RAVDESS paper"]
        assert [row[0] for row in rows] == list(CONFIGURATIONS)
        ran = [".750 [.750, .750]", ".576", ".750 [.750, .750]", ".575"]
        assert rows[2] == ["sp-dstl", "not run", ".545", "not run", ".556", *ran]
        assert rows[4][5:] == ["not run", ".578", "not run", ".576"]

    def test_table_3_has_the_ablations_below_the_method(self):
        records = [equal_speakers("2/4", "4/4", recipe="vid-dstl+two-stage")]
        _, *rows = cells(table_3(records).replace("†", ""))
        assert [row[0] for row in rows] == ["MAE, one stage", "CE in place of MAE", "two stages"]
        assert [row[2::2] for row in rows] == [
            [".534", ".547", ".545", ".556"],
            [".523", ".540", ".540", ".546"],
            [".464", ".485", ".511", ".528"],
        ]
        assert rows[2][1::2] == [".750 [.750, .750]", ".750 [.750, .750]", "not run", "not run"]
        assert rows[1][1] == "not run"


class TestMarkers:
    TEXT = "# A\n<!-- results:one -->\nold\n<!-- /results:one -->\nB\n<!-- results:two --><!-- /results:two -->"

    def test_what_stands_between_is_replaced(self):
        once = write_between_markers(self.TEXT, "one", "| new |\n")
        assert once == self.TEXT.replace("old", "| new |")
        assert write_between_markers(once, "one", "| new |\n") == once
        assert write_between_markers(self.TEXT, "two", r"\1").endswith(
            "B\n<!-- results:two -->\n\\1\n<!-- /results:two -->"
        )

    @pytest.mark.parametrize(
        "text",
        [
            "nothing",
            "<!-- results:one -->",
            "<!-- /results:one --><!-- results:one -->",
            "<!-- results:one --><!-- /results:one --><!-- results:one --><!-- /results:one -->",
        ],
    )
    def test_missing_markers(self, text):
        with pytest.raises(UserError, match="write <!-- results:one --> and <!-- /results:one --> into the file"):
            write_between_markers(text, "one", "new")

import pyarrow.parquet as pq

from liser_ray.labeling.resume import count_outcomes, reconcile, remove_doubles
from liser_ray.labeling.schema import labels_schema


def test_a_generated_corpus_is_planned_and_counted_like_a_real_one(tmp_path):
    import million_recordings

    n_left = 100
    folders = million_recordings.folders_of(str(tmp_path))
    summary = million_recordings.plan_generated(60, folders.output)
    assert summary.recordings == 60
    assert 5 < summary.hours < 7
    assert "60 recordings" in million_recordings.open_plan(folders.output)

    n_done = million_recordings.label_all_but(folders.output, n_left)
    assert n_done == summary.spans - n_left
    assert reconcile(folders) == n_done
    outcomes, different = count_outcomes(folders)
    assert sum(outcomes.values()) == different == n_done
    assert remove_doubles(folders) == 0
    (row,) = million_recordings.NoMedia(labels_schema(million_recordings.TARGETS))(
        pq.read_table(folders.plan).slice(0, 1)
    )
    assert row.num_rows == 1
    assert million_recordings.sort_as_ray(folders) > 80 * n_done  # Python strings, each in each actor


def test_of_a_corpus_smaller_than_what_is_to_be_left_half_is_left(tmp_path):
    import million_recordings

    summary = million_recordings.plan_generated(2, str(tmp_path))
    n_done = million_recordings.label_all_but(str(tmp_path), million_recordings.LEFT)
    assert 0 < n_done < summary.spans
    assert reconcile(million_recordings.folders_of(str(tmp_path))) == n_done


def test_of_one_size_there_is_no_growth():
    import million_recordings

    cost = million_recordings.Cost(1.0, 1.0, 1, 1, None)
    assert million_recordings.growth([cost], [1000]) == "–"
    assert million_recordings.growth([cost, cost._replace(cpu_s=2.0)], [1000, 2000]) == "1.00"

"""The command that writes a labeling job's page again."""

from pathlib import Path

from small_jobs import row, write_job

JOB = Path(__file__).parents[2] / "jobs/report_corpus.py"


def test_it_writes_the_page_and_says_where(run, tmp_path):
    write_job(tmp_path, [row(1)], to_go=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    code, text, _ = run("--output", tmp_path)
    assert code == 0
    assert text == f"Page: {tmp_path}/report.html\n"
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {tmp_path / "report.html"}
    assert {path: after[path] for path in before} == before  # a running job is left alone


def test_an_output_without_a_job_is_one_clear_message(run, tmp_path):
    code, _, errors = run("--output", tmp_path / "nothing")
    assert code == 2
    assert "has no run.json: give the --output of a label_corpus.py that has begun" in errors


def test_a_negative_contact_sheet_is_refused(run, tmp_path):
    assert run("--output", tmp_path, "--contact_sheet", -1)[0] == 2

"""The command that writes a labeling job's page again."""

from small_jobs import row, write_job


def test_it_writes_the_page_and_says_where(run, tmp_path):
    write_job(tmp_path, [row(1)], to_go=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    code, text, _ = run("report_corpus", "--output", tmp_path)
    assert code == 0
    assert text == f"Page: {tmp_path}/report.html\n"
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {tmp_path / "report.html"}
    assert {path: after[path] for path in before} == before  # a running job is left alone

import pytest


@pytest.mark.soak
def test_a_quick_run_trains_beside_plain_scripts(capsys):
    import student_training

    student_training.main(["--quick", "--device", "cpu"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|") and "--" not in line]
    rows = [line.strip("| ").split(" | ") for line in lines[1:]]
    assert [row[0] for row in rows] == [
        *student_training.WAYS,
        *(f"**{way}, to the faster plain one**" for way in ("ours, float32", "ours")),
    ]
    assert all(float(cell.strip("*")) > 0 for row in rows for cell in row[1:])

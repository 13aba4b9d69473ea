import pytest


@pytest.mark.soak
def test_a_quick_run_compares_every_way(capsys):
    import student_inference

    student_inference.main(["--quick"])
    out = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("|") and "--" not in line]
    ways = {
        (row[0], row[1])
        for row in rows
        if row[0] in ("plain loop", "PyTorch", "ONNX", "ONNX, 8 bits") and len(row) == 5
    }
    assert {name for name, _ in ways} == {"plain loop", "PyTorch", "ONNX", "ONNX, 8 bits"}
    costs = {row[0]: row for row in rows if len(row) == 7}
    assert costs["student, ONNX"][2] == "100,488"
    assert costs["HuBERT base, PyTorch"][2] == "94,570,504"
    assert student_inference.student_macs(8) == 62_300_672

import pytest


@pytest.fixture(scope="module")
def measured():
    import scaling

    return scaling.read_measured()


def test_the_document_holds_what_the_committed_results_give(measured):
    import scaling

    assert scaling.make_table(measured) in scaling.DOCUMENT.read_text()


def test_what_is_asked_for_grows_with_the_hours(measured):
    import scaling

    few, many = (scaling.demand(hours, measured) for hours in (1e5, 1e6))
    for name in ("spans", "gets", "puts", "gpu_hours", "labels_tb"):
        assert getattr(many, name) / getattr(few, name) == pytest.approx(10)

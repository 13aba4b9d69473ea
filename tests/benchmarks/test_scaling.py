def test_the_document_holds_what_the_committed_results_give():
    import scaling

    assert scaling.make_table(scaling.read_measured()) in scaling.DOCUMENT.read_text()


def test_requests_grow_with_the_hours():
    import scaling

    measured = scaling.read_measured()
    few, many = (scaling.demand(hours, measured) for hours in (1e5, 1e6))
    for name in ("spans", "gets", "puts", "gpu_hours", "labels_tb"):
        assert abs(getattr(many, name) / getattr(few, name) - 10) < 1e-6

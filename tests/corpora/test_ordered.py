from concurrent.futures import Future

from liser_ray.corpora.ordered import in_order


def test_items_keep_their_order_and_few_are_under_way():
    under_way = {}
    most = 0

    def submit(item):
        nonlocal most
        under_way[item] = Future()
        most = max(most, sum(not future.done() for future in under_way.values()))
        if item % 3:  # every third stays open until it is asked for
            under_way[item].set_result(-item)
        return under_way[item]

    stream = in_order(submit, range(50), in_flight=7)
    for expected, (item, future) in enumerate(stream):
        if expected == 1:
            assert len(under_way) <= 8  # what is done is taken without waiting for more
        if not future.done():
            future.set_result(-item)
        assert (item, future.result()) == (expected, -expected)
    assert len(under_way) == 50
    assert most <= 7

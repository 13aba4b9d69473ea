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

    taken = []
    for item, future in in_order(submit, range(50), in_flight=7):
        if not future.done():
            future.set_result(-item)
        taken.append((item, future.result()))
    assert taken == [(item, -item) for item in range(50)]
    assert most <= 7


def test_what_is_done_is_taken_without_waiting_for_more():
    submitted = []

    def submit(item):
        submitted.append(item)
        future = Future()
        future.set_result(item)
        return future

    stream = in_order(submit, range(100), in_flight=50)
    assert next(stream)[0] == 0
    assert submitted == [0]

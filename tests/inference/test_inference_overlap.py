"""Reading, computing and writing at the same time: in order, no more at once than said, and errors in their turn."""

import gc
import threading
import time
import weakref

import pytest
import torch

from umanet.inference.overlap import overlapped


class Item:
    """Something large."""

    def __init__(self, number):
        self.number = number


class Watch:
    """Items that are read, and what there was at once."""

    def __init__(self, count, alone=(), fails=None):
        self.count, self.large, self.fails = count, set(alone), fails
        self.alive, self.most, self.beside, self.threads = weakref.WeakSet(), 0, {}, {}

    def read(self):
        return map(self.made, range(self.count))

    def made(self, number):
        self.step("read", number)
        item = Item(number)
        self.alive.add(item)
        return item

    def step(self, kind, number):
        self.threads.setdefault(kind, set()).add(threading.current_thread().name.partition("_")[0])
        self.most = max(self.most, len(self.alive))
        if self.fails == (kind, number):
            raise ValueError(f"{kind} {number}")

    def compute(self, item):
        self.step("compute", item.number)
        time.sleep(0.01)
        self.beside[item.number] = {other.number for other in self.alive if other is not item}
        return item

    def write(self, item):
        self.step("write", item.number)
        time.sleep(0.01)
        return item.number

    def run(self):
        return overlapped(self.read(), self.compute, self.write, alone=lambda item: item.number in self.large)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("alone", [(), (0,), (1,), (3, 4), range(7)])
def test_all_come_in_order(count, alone):
    assert list(Watch(count, alone).run()) == list(range(count))


def test_three_threads_share_the_work_and_three_items_are_there():
    watch = Watch(12)
    assert len(list(watch.run())) == 12
    assert watch.threads["read"] == {"read"}
    assert watch.threads["write"] == {"write"}
    assert watch.threads["compute"] == {threading.current_thread().name}
    assert any(beside for beside in watch.beside.values())
    assert watch.most <= 3


def test_what_is_to_be_alone_is():
    watch = Watch(9, alone=(2, 5, 6))
    assert list(watch.run()) == list(range(9))
    assert [watch.beside[number] for number in (2, 5, 6)] == [set()] * 3
    assert any(watch.beside[number] for number in (0, 1, 3, 4, 7, 8))


@pytest.mark.parametrize("kind", ["read", "compute", "write"])
def test_an_error_comes_in_its_turn_and_ends_all_threads(kind):
    watch = Watch(6, fails=(kind, 3))
    done = []
    with pytest.raises(ValueError, match=f"{kind} 3"):
        done.extend(watch.run())
    assert done == list(range(len(done)))
    assert len(done) >= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "write"))]


def test_what_could_not_be_written_is_said_before_what_could_not_be_read():
    watch = Watch(6, fails=("write", 2))
    read = watch.made

    def breaks_later(number):
        if number == 3:
            raise OSError("read 3")
        return read(number)

    watch.made = breaks_later
    with pytest.raises(ValueError, match="write 2"):
        list(watch.run())


def test_leaving_early_waits_for_the_threads():
    results = Watch(50).run()
    assert next(results) == 0
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "write"))]


def test_nothing_is_held_at_the_end():
    watch = Watch(4)
    list(watch.run())
    gc.collect()
    assert not watch.alive


def test_what_was_computed_without_gradients_is_written_without():
    with torch.inference_mode():
        maps = torch.zeros(3)
    found = overlapped(iter([maps]), lambda item: item, lambda item: item.add_(1), alone=lambda _: False)
    assert next(found).tolist() == [1, 1, 1]

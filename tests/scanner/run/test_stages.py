"""Threads beside the scan: order is kept, errors come out, and nobody waits for one who is gone."""

import signal
import threading
from collections.abc import Iterator

import pytest

from memscan.scanner.run.stages import Behind, made_ahead


def test_the_next_item_is_made_while_one_is_in_use() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for i in range(5):
            made.append(i)
            if i == 1:
                second.set()
            yield i

    ahead = made_ahead(items())
    assert next(ahead) == 0
    assert second.wait(timeout=10)  # nobody has asked for it yet
    assert made == [0, 1]
    assert list(ahead) == [1, 2, 3, 4]


def test_an_error_of_the_maker_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk failed")

    ahead = made_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk failed"):
        next(ahead)


def test_a_maker_that_is_closed_makes_one_item_in_vain_at_most() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    ahead = made_ahead(items())
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    assert made == [0, 1, 2]


def test_everything_put_is_consumed_in_order() -> None:
    with Behind(list[int]) as behind:
        for i in range(100):
            behind.put(i)
        assert behind.finish() == list(range(100))


def test_an_error_of_the_consumer_comes_out_of_put_or_finish_and_nobody_waits_for_ever() -> None:
    def consume(items: Iterator[int]) -> None:
        for item in items:
            if item == 3:
                raise OSError("the disk failed")

    with pytest.raises(OSError, match="the disk failed"), Behind(consume, waiting=1) as behind:
        for i in range(1000):
            behind.put(i)
    with pytest.raises(OSError, match="the disk failed"), Behind(consume, waiting=10) as behind:
        for i in range(4):
            behind.put(i)
        behind.finish()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_while_the_end_is_awaited_does_not_leave_the_consumer_behind(interruptible: None) -> None:
    main, left = threading.get_ident(), threading.Event()
    fate: list[str] = []

    def consume(items: Iterator[int]) -> None:
        for _ in items:
            pass
        signal.pthread_kill(main, signal.SIGINT)  # it is waiting in `finish`
        fate.append("left behind" if left.wait(timeout=0.5) else "awaited")

    with pytest.raises(KeyboardInterrupt), Behind(consume) as behind:
        behind.put(1)
        behind.finish()
    left.set()
    assert fate == ["awaited"]


def test_a_signal_while_there_is_no_room_does_not_lose_the_item(interruptible: None) -> None:
    main, taken, interrupted = threading.get_ident(), [], threading.Event()

    def consume(items: Iterator[int]) -> None:
        for item in items:
            taken.append(item)
            if item == 0:
                interrupted.wait(timeout=10)  # one more item waits, and the next one finds no room

    with pytest.raises(KeyboardInterrupt), Behind(consume, waiting=1) as behind:
        behind.put(0)
        behind.put(1)
        threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
        try:
            behind.put(2)
        finally:
            interrupted.set()
    assert taken == [0, 1, 2]


def test_an_error_of_the_producer_is_an_exception_within_the_consumer() -> None:
    ended: list[str] = []

    def consume(items: Iterator[int]) -> None:
        try:
            for _ in items:
                pass
            ended.append("finished")
        except BaseException:
            ended.append("abandoned")
            raise

    with pytest.raises(KeyboardInterrupt), Behind(consume) as behind:
        behind.put(1)
        raise KeyboardInterrupt
    assert ended == ["abandoned"]

"""Progress in a log: few lines, each of which says where the run is."""

from memscan.scanner.run.progress import LogLines, whole
from memscan.scanner.run.ticks import Ticks
from memscan.scanner.scanning.batch_ceiling import BatchCeiling


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(total: int, done: int, finishes: list[float]) -> list[str]:
    """The lines of a run in which one image is finished at each of the given times."""
    clock = Clock()
    written: list[str] = []
    log = LogLines(total, done, written.append, clock)
    for time in finishes:
        clock.now = time
        log.advance(1, 0)
    return written


def test_line_after_seconds_and_then_after_every_tenth() -> None:
    written = lines(100, 0, [float(i) for i in range(1, 101)])
    assert len(written) == 11
    assert written[:2] == [
        "5 of 100 images (5%), 1/s, 1 min 35 s left",
        "10 of 100 images (10%), 1/s, 1 min 30 s left",
    ]
    assert written[-1] == "100 of 100 images (100%), 1/s, 0 s left"


def test_first_line_after_seconds_and_then_after_half_a_minute_of_silence() -> None:
    written = lines(1000, 0, [4.0, 20.0, 40.0, 60.0, 80.0])
    assert written == [
        "2 of 1000 images (0%), 6/min, 2 h 46 min left",
        "4 of 1000 images (0%), 4/min, 4 h 9 min left",
    ]


def test_an_hour_long_batch_shows_its_steps() -> None:
    clock = Clock()
    written: list[str] = []
    log = LogLines(8, 0, written.append, clock)
    for _ in range(50):  # a step of a batch of 8, each 72 seconds
        clock.now += 72.0
        log.advance(8 / 50, 0)
    assert written[0] == "0 of 8 images (2%), 0.133/min, 58 min 48 s left"
    assert written[-1] == "8 of 8 images (100%), 0.133/min, 0 s left"
    assert len(written) == 50


def ticked(calls: int, images: int, size: int, called: int) -> tuple[list[float], BatchCeiling]:
    advanced: list[float] = []
    ceiling = BatchCeiling(size, lambda line: None)
    ticks = Ticks(lambda count, errors: advanced.append(count), calls, ceiling)
    ticks.begin(images)
    for _ in range(called):
        ticks.tick()
    ticks.end(images + 1, 0)  # one of them needed no scan
    return advanced, ceiling


def test_each_call_of_a_batch_is_a_share_of_its_images() -> None:
    assert ticked(calls=4, images=8, size=8, called=4)[0] == [2.0, 2.0, 2.0, 2.0, 1.0]


def test_a_batch_in_pieces_and_one_with_more_calls_than_were_planned_never_count_twice() -> None:
    assert ticked(calls=4, images=8, size=4, called=8)[0] == [1.0] * 9
    assert sum(ticked(calls=4, images=8, size=8, called=11)[0]) == 9.0


def test_fractions_that_were_added_up_are_whole_again() -> None:
    assert whole(sum([0.1] * 10)) == 1
    assert whole(0.999) == 0


def test_short_run_is_not_chatty() -> None:
    assert lines(5, 0, [0.1, 0.2, 0.3, 0.4, 0.5]) == []


def test_rate_counts_what_this_process_did() -> None:
    assert lines(100, 80, [float(i) for i in range(1, 11)]) == [
        "85 of 100 images (85%), 1/s, 15 s left",
        "90 of 100 images (90%), 1/s, 10 s left",
    ]


def test_errors_are_counted_in_every_line() -> None:
    clock = Clock()
    written: list[str] = []
    log = LogLines(10, 4, written.append, clock)
    log.advance(0, 3)  # those that an earlier process has counted
    for errors in (0, 2):
        clock.now += 40.0
        log.advance(1, errors)
    assert written == [
        "5 of 10 images (50%), 3 with errors, 1.5/min, 3 min 20 s left",
        "6 of 10 images (60%), 5 with errors, 1.5/min, 2 min 40 s left",
    ]


def test_nothing_done_is_no_progress() -> None:
    written: list[str] = []
    clock = Clock()
    log = LogLines(10, 0, written.append, clock)
    clock.now = 60.0
    log.advance(0, 0)
    assert written == []

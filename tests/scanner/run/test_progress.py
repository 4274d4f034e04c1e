"""Progress in a log: few lines, each of which says where the run is."""

from memscan.scanner.run.progress import LogLines


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


def test_line_after_every_tenth() -> None:
    written = lines(100, 0, [float(i) for i in range(1, 101)])
    assert len(written) == 10
    assert written[0] == "10 of 100 images (10%), 1/s, 1 min 30 s left"
    assert written[-1] == "100 of 100 images (100%), 1/s, 0 s left"


def test_line_after_half_a_minute_of_silence() -> None:
    written = lines(1000, 0, [20.0, 40.0, 60.0, 80.0])
    assert written == [
        "2 of 1000 images (0%), 3/min, 5 h 32 min left",
        "4 of 1000 images (0%), 3/min, 5 h 32 min left",
    ]


def test_short_run_is_not_chatty() -> None:
    assert lines(5, 0, [0.1, 0.2, 0.3, 0.4, 0.5]) == []


def test_rate_counts_what_this_process_did() -> None:
    assert lines(100, 80, [float(i) for i in range(1, 11)]) == ["90 of 100 images (90%), 1/s, 10 s left"]


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

"""When a process that ended is started again."""

from service.cli.workers import pause_after


def test_the_pauses_grow_to_the_longest_and_stay_there() -> None:
    assert [pause_after(failures, 30) for failures in range(7)] == [1, 1, 2, 4, 8, 16, 30]
    assert pause_after(5000, 60) == 60  # days in a row

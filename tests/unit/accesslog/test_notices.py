"""People are told of each kind at once, and then not again for a while."""

from accesslog.notices import Notices


def test_the_same_kind_is_told_once_in_a_while() -> None:
    """A flood of one kind is one notice; the next says how many there were; others are told."""
    told: list[str] = []
    now_s = [100.0]
    notices = Notices(told.append, lambda: now_s[0], quiet_s=10)
    for _ in range(1_000):
        notices.tell("forged", "a ticket")
    notices.tell("full", "the spool")
    assert told == ["forged: a ticket", "full: the spool"]
    now_s[0] += 10
    notices.tell("forged", "a ticket")
    notices.tell("full", "the spool")
    assert told[2:] == ["forged: a ticket (999 more since the last notice)", "full: the spool"]

"""What can go wrong with a part."""


class PartFailed(Exception):
    """A part did not come up, or ended when it should not have; carries the end of its log."""

    def __init__(self, name: str, reason: str, log_lines: tuple[str, ...]) -> None:
        self.name = name
        self.reason = reason
        self.log_lines = log_lines
        super().__init__("\n".join((f"{name}: {reason}", *(f"  | {line}" for line in log_lines))))


class PartMissing(Exception):
    """A binary that a part needs is not installed, or cannot be executed."""

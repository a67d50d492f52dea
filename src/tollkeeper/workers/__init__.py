"""Workers of a role, whatever transport they serve by: each is a process, and each is replaced when
it dies."""

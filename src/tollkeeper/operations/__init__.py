"""What people do: one function per operation, shared by the command line and the management API.

Each takes an :class:`~tollkeeper.operations.desk.Act` (one transaction of one actor) or a
:class:`~tollkeeper.operations.desk.View` (one snapshot) and values, and returns a value.
"""

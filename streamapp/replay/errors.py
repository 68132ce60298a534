"""What can be wrong with recorded traffic."""


class RecordedError(Exception):
    """The file cannot be replayed: one line that names the place, what it was, what is expected."""

"""Mistakes a user can mend."""


class UsageError(Exception):
    """Bad configuration or input: the message is one line that says what is wrong and the mend."""

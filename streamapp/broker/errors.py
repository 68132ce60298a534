"""What can go wrong with a local broker that its user can mend."""


class BrokerError(Exception):
    """One line: what is wrong with the local broker, and the mend."""

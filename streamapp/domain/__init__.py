"""The meaning of messages: transaction, verdict, severity, dead letter. Pure: no I/O, no clock."""

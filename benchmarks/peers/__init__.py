"""The same transactions, features, models and verdicts through other engines, side by side."""

"""What every sink has to hold to, and what only one of them does."""

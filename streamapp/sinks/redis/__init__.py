"""The latest verdict of each user, kept in Redis for readers."""

"""Attacks on what the models learn, replayed."""

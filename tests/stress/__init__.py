"""Stress: poison, floods, overload, a full disk, sinks and clocks that misbehave, bounded exits."""

"""Models over time: training, evaluation, promotion."""

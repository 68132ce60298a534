"""Models, calibration, explanation, and the pipeline that composes them. Pure: arrays to arrays."""

from streamapp.scoring.pipeline import Pipeline

__all__ = ["Pipeline"]

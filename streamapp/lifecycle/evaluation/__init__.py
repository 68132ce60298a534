"""Evaluation: how well the pipeline ranks fraud in traffic it has not seen, and at what cost."""

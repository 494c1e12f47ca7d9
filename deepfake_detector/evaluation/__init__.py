"""From logits to verdicts, and how good they are: calibration, metrics with intervals, robustness, reports."""

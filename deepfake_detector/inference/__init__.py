"""Inference: from a video and a trained detector to a verdict, an annotated video and a timeline."""

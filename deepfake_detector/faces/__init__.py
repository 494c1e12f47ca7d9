"""From videos to aligned face crops. The stages, inference and the web page share this code."""

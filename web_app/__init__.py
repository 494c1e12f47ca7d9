"""Give it a video in the browser, get an answer that you can look at."""

"""A web page on which visitors upload videos and get a verdict for each."""

"""What a corpus is: the labels CSV, and the embedded sample corpus."""

"""From logits to verdicts, and what they are worth."""

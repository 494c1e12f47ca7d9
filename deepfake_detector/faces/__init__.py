"""From video to aligned face crops. `extract`, `infer` and the web app all go through here."""

"""What proves the claims: each module prints the table that the documentation quotes."""

"""The compiled loop, and what it asks of a problem and of a guard."""

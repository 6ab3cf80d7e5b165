"""How it is run: trials, one at a time, and what they leave."""

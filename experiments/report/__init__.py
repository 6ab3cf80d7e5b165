"""What a reader sees: figures, the paper, the README's results."""

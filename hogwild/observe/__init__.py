"""What happens between concurrent updates."""

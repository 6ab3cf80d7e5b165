"""``python -m experiments``; worker processes import this module, so it imports nothing on top."""

if __name__ == "__main__":
    from experiments.cli import app

    app()

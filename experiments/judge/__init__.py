"""What it says: tables, claims, whether a run's files follow from each other."""

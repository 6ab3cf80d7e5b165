"""What a run says: tables, claims, whether its files follow from each other."""

"""What is run: specs, plans, workloads."""

"""The experiments: specs, the plan of trials, the runner, the records, and what is computed from them."""

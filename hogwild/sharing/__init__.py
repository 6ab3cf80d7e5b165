"""How workers meet the weights: guards and schedules."""

"""Who runs the updates, and the memory that workers share."""

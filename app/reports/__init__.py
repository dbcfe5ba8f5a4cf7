"""What came out of a job: measurements before and after, step by step, and what it means."""

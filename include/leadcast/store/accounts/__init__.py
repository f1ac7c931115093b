"""What is kept for each account: its circuit, its limits, its tokens, what its service has told us."""

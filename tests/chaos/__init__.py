"""What befalls a whole stack: killed processes, too many leads, a busy machine. Each starts a stack of its own."""

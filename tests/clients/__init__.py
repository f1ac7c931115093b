"""The sandbox and what we send, proven by public clients and servers that nobody here wrote, unmodified."""

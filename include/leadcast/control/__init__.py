"""What people do to a batch afterwards: look at it, retry, cancel, erase."""

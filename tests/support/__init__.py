"""What tests of several folders share: servers, stacks, plugins of pytest, the table of errors."""

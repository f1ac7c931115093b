"""Commands of the local stack and the sandbox: with these, in the distribution leadcast-local."""

"""Runs: rung for, asked how they stand, found by their lead, deleted when they are old."""

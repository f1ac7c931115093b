"""One delivery: admitted, attempted, its outcome written, and what an earlier attempt left found out."""

"""The DAGs: a file for each, its operators beside it."""

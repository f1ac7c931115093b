"""Erasing: which leads are to go, what of them goes, and the record of it."""

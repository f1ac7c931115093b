"""Loaded by every Python process of the chaos stack, which has this folder on its PYTHONPATH, and by no other."""

import os
from importlib import import_module

if os.environ.get("CHAOS_FAULTS"):
    import_module("kill_points").install()

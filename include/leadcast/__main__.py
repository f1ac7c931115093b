"""`python -m leadcast` is the command `leadcast`."""

from leadcast.cli import app

app(prog_name="leadcast")

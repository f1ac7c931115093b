"""What is done to the tables themselves: brought up to date, sealed anew."""

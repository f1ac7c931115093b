"""The way of a lead, one direction only: request → inbox → plan → deliver → settle → told → notify."""

"""HTTP as all integrations use it: one bounded call, sure of whether anything was sent."""

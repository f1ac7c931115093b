"""Stages every death against the real stack, and judges whether the promise was kept: nothing lost, nothing twice."""

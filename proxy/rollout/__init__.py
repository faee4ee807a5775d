"""Rollouts: staged changes of a split, along a plan, on evidence."""

"""Rollouts: the table of their life, the machine that walks it, the weights of a step, evidence, gates and what is told of them."""

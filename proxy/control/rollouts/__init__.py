"""Rollouts in life: what `proxy/rollout/` decides is asked, put down and laid over the file here, once a second."""

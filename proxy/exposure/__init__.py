"""Who was exposed to what, and why: the store of it, questions to the store, the stream for others, and forgetting one unit."""

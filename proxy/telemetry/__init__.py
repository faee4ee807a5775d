"""What is counted and written down: shared-memory counters, exposition, logs, access log, trace context."""

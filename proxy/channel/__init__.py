"""The messages between the control process and its workers, and their framing. Both sides import it; it imports neither."""

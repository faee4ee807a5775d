"""The control process: reads the file, starts and watches the workers, resolves names, serves the admin port, keeps state."""

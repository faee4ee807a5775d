"""What holds for all tests."""

from hypothesis import settings

# How long an example takes is the machine's affair: no test may fail for it.
settings.register_profile("tidegate", deadline=None)
settings.load_profile("tidegate")

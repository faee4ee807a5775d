"""Flags for applications: the OpenFeature Remote Evaluation Protocol, and flags of other systems."""

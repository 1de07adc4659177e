"""Runs: where config, data, model and schedule meet."""

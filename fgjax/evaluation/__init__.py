"""Scoring a split: predictions, accuracies with intervals, confusions, results on disk."""

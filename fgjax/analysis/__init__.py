"""The hierarchy measured: where the fine detail lives, what is lost, and what to change."""

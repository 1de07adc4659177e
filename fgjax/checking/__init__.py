"""What a value of a config may be, and what is said where it is something else."""

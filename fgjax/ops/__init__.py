"""Pure functions on arrays: no parameters, no state, no files."""

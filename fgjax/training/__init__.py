"""How a run goes: state, step, devices, loop, checkpoints."""

"""Pure functions of tensors. No module, no parameter, no state."""

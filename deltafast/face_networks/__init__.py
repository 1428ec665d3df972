"""Networks that look at faces differentiably, for losses. Those that judge results, in `faces`, are others."""

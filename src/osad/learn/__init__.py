"""Building blocks that the methods share: image sets, batches, heads, losses, the training loop."""

"""The tree over the heads of chains: grown, signed, pinned."""

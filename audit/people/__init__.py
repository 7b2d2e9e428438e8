"""People: how they are recognised, and what they say."""

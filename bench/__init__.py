"""What a governed write costs, against a hand-written floor in the same run: ``make bench``."""

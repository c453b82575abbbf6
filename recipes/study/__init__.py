"""Studies: many trainings, one row each, and a page of what they say."""

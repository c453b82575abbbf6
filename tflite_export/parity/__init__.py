"""A model beside its file: who is who, and how far off."""

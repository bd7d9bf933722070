"""What builds parts of the project: facts from packages, pages from code. Not shipped."""

"""What is read off fitted results: comparison, associations, labels."""

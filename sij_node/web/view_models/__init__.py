"""What each page shows, decided from stored values without a request or a template."""

"""What each page shows: decided here from what the store told, without a request or a template."""

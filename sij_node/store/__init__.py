"""Durable storage: the spool of files and the database of jobs."""

"""What must survive a power cut: the spool of received objects and the job table."""

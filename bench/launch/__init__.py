"""Where units of work run: this process, or local worker processes."""

"""Where units of work run: this process, local worker processes, a cluster; and what becomes of those that die."""

"""The SMTP wing: one conversation, from bytes to outcomes."""

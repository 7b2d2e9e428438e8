"""Telling people outside that there is something to decide: webhooks, mail, chat. Never a way to decide it."""

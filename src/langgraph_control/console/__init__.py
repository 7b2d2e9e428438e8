"""The console: an inbox, cards and the record in a browser, for people who decide. Needs the extra ``[console]``."""

"""Text, tables, HTML and plots; nothing is computed here."""

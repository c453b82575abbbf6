"""Part of qsparse."""

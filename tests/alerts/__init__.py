"""Alerts: what a whole one takes."""

"""Worlds for the audit: archives with planted defects, and clean ones whose source moves."""

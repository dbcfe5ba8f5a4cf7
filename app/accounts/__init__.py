"""Accounts: tenants, what their keys may do, and how a key is checked."""

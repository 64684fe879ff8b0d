"""Shipped specs and configurations: package data."""

"""Backfill: walks through the upstreams' lists for generations that nobody told us of.

walks      starts and continues walks, one at a time over all instances
list_walk  reads a list page by page, and stores each page with the progress
schema     the response model for a walk
"""

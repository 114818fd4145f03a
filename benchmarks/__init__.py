"""Measurements that anyone can repeat; nothing of the service imports them."""

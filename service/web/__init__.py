"""The HTTP surface: Luma's callbacks, the REST API, and what guards them."""

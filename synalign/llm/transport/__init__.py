"""Requests on their way to an endpoint, and replies on their way back."""

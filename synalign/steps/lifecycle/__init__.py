"""What happens to a workspace over time: history, status, clean-up, the published catalog."""

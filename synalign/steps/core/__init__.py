"""What every step uses: the context it is handed, and reading rows as arrays."""

"""Arrays in, arrays or row indices out. No tables, no configuration, no logging."""

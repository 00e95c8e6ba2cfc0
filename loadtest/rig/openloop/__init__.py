"""Run the compiled load client and read its records."""

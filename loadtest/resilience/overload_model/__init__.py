"""Model the service's two threads on one CPU, to compare policies of overload."""

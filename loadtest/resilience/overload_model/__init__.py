"""Model the service's two threads on one CPU, to tell policies of overload apart without the noise of runs."""

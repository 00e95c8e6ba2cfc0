"""Run several processes as one service."""

"""Send both ports what no sound client sends, and judge the answers."""

"""Send both ports what no sound client sends, and look for answers that nothing sound gives."""

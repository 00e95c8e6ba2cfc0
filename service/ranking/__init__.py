"""Turn a request into a list: deal candidates, ask the model, or fall back."""

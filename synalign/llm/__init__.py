"""Text. Only `client` imports openai, only `prompts` imports jinja2."""

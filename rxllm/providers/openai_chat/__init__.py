"""OpenAI Chat Completions, in every vendor's dialect."""

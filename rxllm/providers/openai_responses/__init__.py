"""OpenAI Responses, stateless."""

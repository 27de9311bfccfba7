"""What administrators see and do: actions, sign-in, health, alerts and metrics."""

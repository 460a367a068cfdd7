"""What an application writes: tasks, their options, middleware and providers."""

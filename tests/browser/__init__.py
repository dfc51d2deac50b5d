"""The dashboard in a real browser: what people see, do and can reach by keyboard."""

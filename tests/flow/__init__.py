"""The whole way without a broker."""

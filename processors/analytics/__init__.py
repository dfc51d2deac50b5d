"""The analytics stream: rates by the minute, counted by a faust worker that reads the public topics."""

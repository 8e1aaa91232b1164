"""A user's own images and masks: found and paired, looked at once, kept decoded, and read whole or by parts."""

"""The Metronome edge: client, models and source."""

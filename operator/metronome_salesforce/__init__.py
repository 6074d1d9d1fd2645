"""Metronome to Salesforce, as a Kubernetes operator."""

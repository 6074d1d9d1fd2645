"""Emulated Metronome, Salesforce and Kubernetes for the demo and the tests."""

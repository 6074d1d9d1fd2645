"""The Salesforce edge: session, reading, writing and target."""

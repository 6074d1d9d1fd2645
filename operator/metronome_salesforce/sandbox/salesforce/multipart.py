"""The parts of a multipart/form-data request body."""

from email.parser import BytesParser
from email.policy import HTTP

from metronome_salesforce.sandbox.salesforce.calls import Call


def read_parts(call: Call) -> dict[str, bytes]:
    """The parts by name; empty if the body is not multipart."""
    header = f"Content-Type: {call.headers.get('content-type', '')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(header + call.body)
    parts: dict[str, bytes] = {}
    if message.is_multipart():
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes):
                parts[name] = content
    return parts

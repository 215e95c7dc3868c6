"""A mail server on loopback that keeps what it is given, and refuses or breaks off where a test wants it to."""

import socketserver
import threading
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any


class SmtpService:
    """`mails` are (addressee, message). `reject`: the answer to DATA; `hang_up`: the connection ends after a mail was taken."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.reject = ""
        self.hang_up = False
        service = self

        class Handler(_Conversation):
            smtp = service

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host, self.port = self.server.server_address[:2]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    smtp: SmtpService

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.say("220 loopback")
        to = ""
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                if self.smtp.reject:
                    self.say(self.smtp.reject)
                    continue
                self.say("354 go on")
                self.smtp.mails.append((to, self._read()))
                if self.smtp.hang_up:
                    return
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                to = line.partition("<")[2].partition(">")[0] if verb == "RCPT" else to
                self.say("250 ok")

    def _read(self) -> Any:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return message_from_bytes(b"".join(lines), policy=default)

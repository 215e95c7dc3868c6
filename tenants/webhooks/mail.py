"""Sends a mail of the outbox by the server that EMAIL_URL names: at most once, for nobody can tell two alike apart."""

import contextlib
import smtplib

from django.core.mail import EmailMessage, get_connection
from django.core.mail.utils import DNS_NAME

from tenants.webhooks.models import OutboxMessage


class MailProblem(Exception):
    """A mail that was not taken. `may_have_arrived`: the connection broke before the server said so."""

    def __init__(self, reason: str, *, may_have_arrived: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.may_have_arrived = reason, may_have_arrived


def send_mail(message: OutboxMessage, address: str) -> None:
    """Send it to one address.

    Raises:
        MailProblem.
    """
    connection = get_connection()
    mail = EmailMessage(
        " ".join(message.payload["subject"].split()),  # a line break would begin another header
        message.payload["text"],
        to=[address],
        headers={"Message-ID": f"<{message.id}@{DNS_NAME}>"},
        connection=connection,
    )
    try:
        connection.open()
    except (OSError, smtplib.SMTPException):
        raise MailProblem("smtp_unreachable") from None
    try:
        mail.send()
    except smtplib.SMTPRecipientsRefused:
        raise MailProblem("smtp_recipient_refused") from None
    except smtplib.SMTPResponseException as rejection:
        raise MailProblem(f"smtp_{rejection.smtp_code}") from None
    except (OSError, smtplib.SMTPException):
        raise MailProblem("smtp_interrupted", may_have_arrived=True) from None
    finally:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            connection.close()

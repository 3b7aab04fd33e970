"""A Celery worker that sends mail: one mail per order, whatever happens to the worker.

pip install 'providers[sendgrid,redis]' 'celery[redis]'
export CELERY_BROKER_URL=redis://localhost:6379/0 PROVIDER_STATE_URL=redis://localhost:6379/1
celery --app tasks worker --pool prefork --concurrency 4
"""

import logging

from celery import Celery, Task

from providers.email import EmailMessage
from providers.errors import ProviderError
from providers.sync import Providers

logger = logging.getLogger(__name__)

app = Celery("shop")  # the broker is in CELERY_BROKER_URL
app.conf.task_acks_late = True  # a task is acknowledged when it is over,
app.conf.task_reject_on_worker_lost = True  # and handed out again when its process dies before that
app.conf.worker_prefetch_multiplier = 1

# Made once, before Celery forks: settings that cannot work stop the worker at its start. Every child opens connections
# of its own.
providers = Providers(capabilities=["email"])


@app.task(bind=True, name="send_shipped", max_retries=8)
def send_shipped(task: Task, order: int, email: str) -> str | None:
    """Tell the customer. A task may run twice; the key makes sure that the mail goes once."""
    mail = EmailMessage(to=(email,), subject=f"Order {order} is on its way", text="It arrives on Friday.")
    try:
        return str(providers.email.send(mail, idempotency_key=f"order-{order}-shipped"))
    except ProviderError as error:
        if error.may_have_applied:
            # It may be out. `providers unknowns` lists it; a person decides, and no machine sends it again.
            logger.exception("order %s: nobody knows whether the mail is out; look", order)
            return None
        if error.retryable:
            raise task.retry(exc=error, countdown=error.retry_after or 2**task.request.retries) from error
        raise

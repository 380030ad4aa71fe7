# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a user is told when something cannot be done.

A :class:`FleetError` is a sentence a tired person can act on: what was expected, what was found, where, and what to do.
Everything in ``module_utils`` raises it for bad input and refusals; any other exception is a defect of the collection.
"""
import contextlib
from typing import Any, Dict, Iterator


class FleetError(Exception):
    """A refusal or a failure whose text is meant for the user.

    ``details`` are returned beside the message (JSON types only), for playbooks that decide on them.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Dict[str, Any] = details


@contextlib.contextmanager
def errors_reported_by(module: Any) -> Iterator[None]:
    """Turn a :class:`FleetError` into ``module.fail_json``; an ``OSError`` keeps its file name and reason."""
    try:
        yield
    except FleetError as error:
        module.fail_json(msg=error.message, **error.details)
    except OSError as error:
        place = " on {0}".format(error.filename) if error.filename else ""
        module.fail_json(msg="The system refused an operation{0}: {1}.".format(place, error.strerror or error))

"""What a DIMSE service is to the engine, and the engine to a service.

A service is a name, its SOP classes and a function for each kind of request. It never sees a
socket: it gets a `Request` and gives `Response`s, one for most, many for C-FIND. The engine asks
the table of application entities for the right `Service.name` before it calls; the service asks its
grant (`permit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dicom_node.dimse.command import Command, CommandField, Value
from dicom_node.upper_layer.negotiation import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Context
from fhir_server.authorization.grant import Grant

__all__ = ["Association", "Caller", "Context", "Handler", "Request", "Response", "Service"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end; `rights` are the names of the services that the table of AEs gives it."""

    calling_ae: str
    called_ae: str
    address: str
    user: str = ""
    certificate: str = ""
    grant: Grant = field(default_factory=Grant.anonymous)
    rights: frozenset[str] = frozenset()


class Association(Protocol):
    """What a service may do with the association that its request came on."""

    @property
    def caller(self) -> Caller:
        """Who is at the other end."""

    @property
    def contexts(self) -> Sequence[Context]:
        """The accepted presentation contexts."""

    @property
    def extended(self) -> Mapping[str, bytes]:
        """SOP class → the extended negotiation application information that was accepted for it."""

    def cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL-RQ for this request has come; never waits."""

    def request(
        self, context: Context, command: Command, data_set: bytes | Iterable[bytes] | None = None
    ) -> tuple[Command, bytes]:
        """Send a request (the message id is filled in), wait for its response, return that and its data set.

        Raises AssociationLost.
        """


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `data_set` is encoded in `context.transfer_syntax`, empty when there is none.

    At most 16 MiB. A C-STORE does not come this way.
    """

    association: Association
    context: Context
    command: Command
    data_set: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One response. `data_set` is encoded in the transfer syntax of the request's context.

    `comment` becomes the Error Comment (0000,0902), cut to 64 characters; `fields` are further
    elements of the command: sub-operation counts, a SOP Instance UID. `more` says that the next response
    is there already: this one may go out together with it.
    """

    status: int
    data_set: bytes = b""
    comment: str = ""
    fields: Mapping[int, Value] = field(default_factory=dict)
    more: bool = False


Handler = Callable[[Request], Iterable[Response]]
"""A C-FIND yields pending responses (FF00) and the final one; most others yield one."""


@dataclass(frozen=True, slots=True)
class Service:
    """One line of the table of services; `name` is the right that a caller needs.

    `extended` answers a SOP class extended negotiation item: asked → accepted.
    """

    name: str
    sop_classes: Sequence[str]
    handlers: Mapping[CommandField, Handler]
    transfer_syntaxes: Sequence[str] = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    extended: Callable[[bytes], bytes] | None = None

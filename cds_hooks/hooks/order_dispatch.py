"""order-dispatch: a performer is being chosen for orders that stand already (hook library 1.1).

There is no user in this context. `dispatchedOrders` is a list, and a list is no primitive value, so it is
no token of our templates, although the library's table marks it as one. The library's own example spells
`fulfillmentTasks` as `fulfillment-tasks`; both are read.
"""

from cds_hooks.hooks.hook import Context, Hook, Resource, check_reference, check_resource
from fhir_server.outcome import Invalid

_TASKS = ("fulfillmentTasks", "fulfillment-tasks")


def _check(context: Context) -> None:
    orders = context.get("dispatchedOrders")
    if not isinstance(orders, list) or not orders:
        raise Invalid(
            "context.dispatchedOrders has to list at least one reference, as ServiceRequest/7",
            expression="context.dispatchedOrders",
            code="required" if orders is None else "value",
        )
    for number, order in enumerate(orders):
        check_reference(order, f"context.dispatchedOrders[{number}]")
    for name in _TASKS:
        tasks = context.get(name)
        if tasks is None:
            continue
        if not isinstance(tasks, list):
            raise Invalid(f"context.{name} has to be a list of Tasks", expression=f"context.{name}")
        for number, task in enumerate(tasks):
            place = f"context.{name}[{number}]"
            check_resource(task, place, ("Task",))
            focus = task.get("focus")
            if not isinstance(focus, dict) or focus.get("reference") not in orders:
                raise Invalid(
                    f"{place}.focus has to refer to one of context.dispatchedOrders",
                    expression=f"{place}.focus",
                )


def _tasks(context: Context) -> list[Resource]:
    return [task for name in _TASKS for task in context.get(name) or ()]


HOOK = Hook("order-dispatch", required=("patientId", "performer"), also=_check, beside=_tasks)

"""Calls of CDS services by HealthChain's SandboxClient; run by a Python that has HealthChain.

    python healthchain_client.py < calls.json

Reads a list of {url, workflow, context, prefetch}, prints what it sent and what it made of the answers. Its
own models make the request and read the response; of ours there is nothing in it.
"""

import json
import sys
from importlib import import_module, metadata


def main() -> None:
    """Send each call and print a JSON document about all of them."""
    models = import_module("healthchain.models")
    contexts = import_module("healthchain.models.hooks")
    discovery = import_module("healthchain.models.responses.cdsdiscovery")
    sandbox = import_module("healthchain.sandbox.sandboxclient")
    kinds = {
        "patient-view": contexts.PatientViewContext,
        "order-select": contexts.OrderSelectContext,
        "order-sign": contexts.OrderSignContext,
        "encounter-discharge": contexts.EncounterDischargeContext,
    }
    given = json.load(sys.stdin)
    listed = discovery.CDSServiceInformation(**given["discovery"])
    done = []
    for call in given["calls"]:
        client = sandbox.SandboxClient(url=call["url"], workflow=call["workflow"])
        if call["prefetch"] is None:
            client.load_synthetic(1, random_seed=7)
        else:
            context = kinds[call["workflow"]](**call["context"])
            request = models.CDSRequest(hook=call["workflow"], context=context, prefetch=call["prefetch"])
            client.requests.append(request)
        (answer,) = client.send_requests()
        try:
            models.CDSResponse(**answer)
            problem = ""
        except Exception as error:
            problem = str(error)
        sent = client.requests[0].model_dump(exclude_none=True, mode="json")
        done.append({"answer": answer, "problem": problem, "context": sent["context"]})
    services = [service.id for service in listed.services]
    print(json.dumps({"version": metadata.version("healthchain"), "services": services, "done": done}))


if __name__ == "__main__":
    main()

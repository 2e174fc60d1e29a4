"""What only Function Compute knows. It stands around server/, which knows nothing of it.

host.py       the ASGI layer around the application: request ids, credentials, lifecycle hooks, invocations
context.py    what the platform says about a request, in its headers
lifecycle.py  /initialize and /pre-stop
invocation.py plain events, as `s invoke` sends them, answered through the same application
events.py     the events of the built-in runtimes, for Mangum; builtin_runtime.py serves them
operator.py   what needs MCP_MINT_KEY: tokens by event
deployment_notice.py  what the operator reads after a deployment
"""

"""Every name that spans carry, in one place: the GenAI conventions are still in development and name no approvals.

``gen_ai.*`` follows the OpenTelemetry GenAI semantic conventions, ``error.type`` the general ones; ``control.*`` is
ours.
"""

from typing import Final

# Spans.
APPROVAL: Final = "control.approval"
WAIT: Final = "control.wait"
READING: Final = "control.read_back"
ENTRY: Final = "control.entry"  # one that names no event; others that stand by themselves have their event's name
EXECUTE_TOOL: Final = "execute_tool"  # GenAI: followed by the tool's name
INVOKE_AGENT: Final = "invoke_agent"  # GenAI: followed by the graph's name

# OpenTelemetry.
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_TOOL: Final = "gen_ai.tool.name"
GEN_AI_TOOL_CALL: Final = "gen_ai.tool.call.id"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_CONVERSATION: Final = "gen_ai.conversation.id"
GEN_AI_AGENT: Final = "gen_ai.agent.name"
ERROR_TYPE: Final = "error.type"
SERVICE: Final = "service.name"
SERVICE_VALUE: Final = "langgraph-control"
SCOPE: Final = "langgraph_control.trail"

# Ours. What identifies.
RUN_ID: Final = "control.run.id"
SEQ: Final = "control.entry.seq"
CLOSED_SEQ: Final = "control.entry.closed_seq"
TENANT: Final = "control.tenant"
ACTION_KEY: Final = "control.action.key"
ATTEMPT_ID: Final = "control.attempt.id"
APPROVAL_ID: Final = "control.approval.id"
DIGEST: Final = "control.digest"

# Ours. What happened, and why.
TRIGGER: Final = "control.trigger"
INTENT: Final = "control.intent"
ACTOR: Final = "control.actor"
ON_BEHALF_OF: Final = "control.on_behalf_of"
WORKER: Final = "control.worker"
TARGET: Final = "control.target"
SYSTEM: Final = "control.system"
IMPACT: Final = "control.impact"
KIND: Final = "control.effect.kind"
ATTEMPTS: Final = "control.attempt.number"
OUTCOME: Final = "control.outcome"
CONFIRMATION: Final = "control.read_back"
VERB: Final = "control.decision"
REASONS: Final = "control.decision.reasons"
RULES: Final = "control.decision.rules"
SIGNALS: Final = "control.decision.signals"
POLICY: Final = "control.policy.hash"
ANSWER: Final = "control.answer"
REASON: Final = "control.reason"
STATE: Final = "control.state"
WAIT_UNTIL: Final = "control.wait.until"
CHECKPOINT: Final = "control.checkpoint"
SINK: Final = "control.export.sink"  # of metrics
PIN: Final = "control.pin"  # of metrics
PERSON: Final = "control.approval.person"
ROLES: Final = "control.approval.roles"
DECISION: Final = "control.approval.vote"

"""A policy that uses every section of the file."""

from typing import Final

WHOLE: Final = """\
version: 1
mode: enforce
roles:
  finance: [ana@acme.example, bo@acme.example]
  security: [cy@acme.example]
  support: [group:leads]
owner: support
owners:
  tool: {refund: finance}
  system: {iam: security}
  impact: {access: security, money: finance}
approve:
  within: 24h
  execute_within: 12h
  on_expiry: {escalate_to: support, within: 4h}
  on_new_message: withdraw
  not_by: [requester]
risk:
  - {impact: money, amount: amount, medium: {amount: 100}, large: {amount: 5000}}
  - {tool: close_tickets, count: tickets, medium: {count: 5}, large: {count: 50}}
records:
  - system: billing
    exempt: unflag
    flagged: {flagged: {is: true}}
    inactive: {owner.active: {is: false}}
    locked: {status: {in: [closed, archived]}}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance, within: 8h}
  - tool: refund
    when: {amount: {gt: 5000, lte: 50000}}
    then: approve
    by: {finance: 2}
    comment: required
    on_expiry: deny
  - {operation: send, when: {to: {not_like: "*@acme.example"}}, then: approve, by: support}
  - {tool: close_tickets, when: {risk.count: {gt: 0, lt: 50}}, then: allow}
  - {tool: close_tickets, when: {risk.radius: {eq: large}}, then: escalate, to: support}
  - {tool: rename, when: {name: {is: null}}, then: ask, question: What should it be called?}
  - {system: iam, effect: blind, then: deny}
  - {environment: staging, then: dry_run}
  - {tenant: [acme, beta], actor: intern-agent, then: deny}
otherwise:
  - {impact: message, then: approve, by: support}
limits:
  - {impact: money, sum: amount, max: 100000, per: day, each: tenant}
  - {tool: send_mail, count: calls, max: 500, per: hour, each: [agent, tool]}
retries:
  default: {attempts: 6, give_up_after: 2h}
  billing: {attempts: 8, base: 500ms, cap: 30s}
  refund: {same_failure: 2}
breakers:
  default: {error_rate: 0.25, window: 2m, minimum_calls: 10, open_for: 45s, probes: 2}
  billing: {degraded_above: 5s}
caps: {tool_calls: 200, retry_time: 6h, same_answer: 4, bounces: 3, loop_within: 5m}
deadlines: {run: 7d}
tests:
  - {call: refund, with: {amount: 100, record.flagged: false}, environment: live, impact: money, expect: allow}
  - {call: refund, with: {amount: 50000}, environment: live, impact: money, expect: approve, by: {finance: 2}}
  - {call: rename, with: {name: null}, environment: live, impact: record, expect: ask}
"""

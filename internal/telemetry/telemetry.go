// Package telemetry is how the broker talks to its operator: structured logs
// without secrets and metrics whose labels come from closed lists. It is told
// names; it does not know types of ours.
package telemetry

// Package harness serves one OpenSKR deployment to clients of Azure that know
// nothing of it: a broker built from this repository, under names below
// localhost, behind a proxy that leads nowhere else. What a client is told is
// what a user would tell it: environment variables, a CA file, URLs.
//
// It knows the broker only from outside, by its program and its protocol.
package harness

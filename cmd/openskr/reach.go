package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// unreachable says what to do about a request that got no answer.
func unreachable(base string, err error) error {
	var name x509.HostnameError
	var cert *tls.CertificateVerificationError
	var dial *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%w; the broker does not know itself by this name: use one of `hosts` in its %s", err, configName)
	case errors.As(err, &cert):
		return fmt.Errorf("%w; the broker's CA is not the one in this credential: openskr login --ca DIR/%s, with the %s of the broker's folder", err, agentFile, agentFile)
	case errors.As(err, &dns):
		return fmt.Errorf("%w; this machine does not know the name of the broker", err)
	case errors.As(err, &dial), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w; no broker answers at %s: does `openskr serve` run, and is its `listen` an address that this machine reaches?", err, base)
	}
	return err
}

// advice is what to do about an answer that a person cannot act on by its text.
func (e *brokerError) advice() string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "run `openskr login` again"
	case e.Status == http.StatusTooManyRequests && e.RetryAfter != "":
		return "too many requests from this address: try again in " + printable(e.RetryAfter) + " s"
	case e.Status == http.StatusTooManyRequests:
		return "too many requests from this address: try again in some seconds"
	case e.Reason == string(release.ReasonClockUntrusted):
		return "look at the broker's clock, then `openskr clock accept`"
	case e.Reason == string(release.ReasonRecoveryNotReady):
		return "run `openskr recovery drill --identity FILE` first"
	case e.Status == http.StatusServiceUnavailable:
		return "try again in some seconds; if that does not help, /readyz and the program log of the broker say why"
	}
	return ""
}

// caOf gives the CA certificates of a PEM file or of an agent.json.
func caOf(path string, b []byte) (string, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return string(b), nil
	}
	var t receipt.Trust
	if err := strict.Unmarshal(b, maxTrust, &t); err != nil || t.CA == "" {
		// Not the decoder's text: the file could be a credential.
		return "", usagef("--ca %s: no CA certificate in it: want PEM, or the %s of the broker", path, agentFile)
	}
	return t.CA, nil
}

// printableLines is printable for text of several lines, which it indents.
func printableLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	for i, line := range lines {
		line = strings.TrimRight(strings.ReplaceAll(line, "\t", "  "), "\r")
		if line != "" {
			line = printable(line)
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n  ")
}

package harness

// Environ is what the user of any of the clients sets: the CA and the way to the
// broker. It names no vault and holds no secret.
func (b *Broker) Environ(p *Proxy) []string {
	return []string{
		"HTTPS_PROXY=" + p.URL,
		"https_proxy=" + p.URL,
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1", // the identity endpoint
		"SSL_CERT_FILE=" + b.CA,       // Go
		"NODE_EXTRA_CA_CERTS=" + b.CA, // JavaScript
		"REQUESTS_CA_BUNDLE=" + b.CA,  // Python, Azure CLI
	}
}

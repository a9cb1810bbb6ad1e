package receipt

// Trust is agent.json: the only file an image needs and the only thing an agent
// trusts. Lists allow a rotation with overlap; any entry is accepted.
type Trust struct {
	V            int      `json:"v"`             // 1
	URLs         []string `json:"urls"`          // brokers, tried in order
	Deployment   string   `json:"deployment"`    // id, the audience of evidence
	CA           string   `json:"ca"`            // PEM, roots of the brokers' TLS certificates
	ResponseKeys [][]byte `json:"response_keys"` // SPKI DER, P-256: verify release responses
	Log          LogTrust `json:"log"`
	// VaultSuffixes are NAME[:PORT]: https://VAULT.SUFFIX is a vault of this deployment.
	// The first one is for vaults that are given by name. None: the default vault alone.
	VaultSuffixes []string `json:"vault_suffixes,omitempty"`
}

// LogTrust pins a log.
type LogTrust struct {
	Origin string   `json:"origin"`
	VKeys  []string `json:"vkeys"` // encoding of golang.org/x/mod/sumdb/note
}

package agent

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"

	"github.com/openskr/openskr/release/receipt"
)

// SecretRef names a secret of the deployment, and a version of it when it says so.
type SecretRef struct {
	vault         string // https://HOST[:PORT]
	name, version string
}

// String is the secret's URL.
func (r SecretRef) String() string { return r.vault + r.path() }

func (r SecretRef) path() string {
	if r.version == "" {
		return "/secrets/" + r.name
	}
	return "/secrets/" + r.name + "/" + r.version
}

// defaultVault is the vault under the brokers' own names.
const defaultVault = "default"

// ParseSecretRef reads VAULT/SECRET[/VERSION], where VAULT is a vault's name or its
// host, or the URL of a secret. A vault that is neither under a broker's name nor below
// one of the suffixes of agent.json is refused: nothing is sent anywhere else. Errors
// wrap [ErrConfig].
func ParseSecretRef(t *receipt.Trust, s string) (SecretRef, error) {
	bad := fmt.Errorf("%w: secret %.256q: want VAULT/SECRET, VAULT/SECRET/VERSION or https://HOST/secrets/SECRET", ErrConfig, s)
	vault, path, ok := strings.Cut(s, "/")
	if rest, isURL := strings.CutPrefix(s, "https://"); isURL {
		vault, path, ok = strings.Cut(rest, "/secrets/")
		vault = "https://" + vault
	}
	name, version, versioned := strings.Cut(path, "/")
	if !ok || !isKeyName(name) || versioned && !isVersion(version) {
		return SecretRef{}, bad
	}
	base, err := vaultURL(t, vault)
	if err != nil {
		return SecretRef{}, err
	}
	return SecretRef{vault: base, name: name, version: version}, nil
}

// vaultURL is the URL of a vault that is given by name, host or URL.
func vaultURL(t *receipt.Trust, vault string) (string, error) {
	switch {
	case vault == defaultVault:
		return trimSlash(t.URLs[0]), nil
	case isVaultName(vault):
		if len(t.VaultSuffixes) == 0 {
			return "", fmt.Errorf("%w: vault %s: agent.json names no vault_suffixes; set them in the broker's configuration and give this machine the agent.json that it writes", ErrConfig, vault)
		}
		return "https://" + vault + "." + t.VaultSuffixes[0], nil
	}
	host := strings.TrimPrefix(vault, "https://")
	if u, err := url.Parse("https://" + host); err == nil && u.Host == host && ours(t, host) {
		return "https://" + host, nil
	}
	return "", notOurs(t, vault)
}

// CheckHost refuses the URL of a key, a secret or a vault whose host is neither a broker's
// nor a vault's of agent.json: no broker of this machine has what it names. Errors wrap
// [ErrConfig].
func CheckHost(t *receipt.Trust, rawURL string) error {
	host, _, _ := strings.Cut(strings.TrimPrefix(rawURL, "https://"), "/")
	if ours(t, host) {
		return nil
	}
	return notOurs(t, rawURL)
}

// notOurs says which hosts could have what was named, and where they stand.
func notOurs(t *receipt.Trust, what string) error {
	return fmt.Errorf("%w: %.256q: its host is neither that of a broker in agent.json (urls: %s) nor NAME.SUFFIX with one of its vault_suffixes (%s); "+
		"the broker writes both into its agent.json", ErrConfig, what, strings.Join(t.URLs, ", "), cmp.Or(strings.Join(t.VaultSuffixes, ", "), "none"))
}

// ours says whether a host is a broker's, or a vault's below a suffix. The whole host
// is compared, as bytes: a label before a suffix is one vault's name and no more.
func ours(t *receipt.Trust, host string) bool {
	for _, u := range t.URLs {
		if trimSlash(u) == "https://"+host {
			return true
		}
	}
	for _, suffix := range t.VaultSuffixes {
		if label, ok := strings.CutSuffix(host, "."+suffix); ok && isVaultName(label) {
			return true
		}
	}
	return false
}

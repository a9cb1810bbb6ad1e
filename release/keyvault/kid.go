package keyvault

import (
	"encoding/hex"
	"errors"
	"strings"

	"github.com/openskr/openskr/release"
)

// DefaultVault is the vault of a base URL without further parts.
const DefaultVault = "default"

// maxName is the longest name of a key, in characters (Key Vault's limit).
const maxName = 127

// ErrKID says that a URL names no key of this deployment.
var ErrKID = errors.New("not a key URL of this deployment, want https://HOST/keys/NAME[/VERSION]")

// KID gives the URL of a key or, with a version, of that version.
func (s *Service) KID(ref release.KeyRef) string {
	kid := s.BaseURL + "/keys/" + ref.Name
	if ref.Version != "" {
		kid += "/" + ref.Version
	}
	return kid
}

// ParseKID takes a key URL apart. The URL is compared as bytes, never parsed, so
// that it has one reading: a URL with another case of the host, an escape, a
// query or a trailing slash names nothing.
func (s *Service) ParseKID(url string) (release.KeyRef, error) {
	rest, ok := strings.CutPrefix(url, s.BaseURL+"/keys/")
	for i := 0; !ok && i < len(s.Aliases); i++ {
		rest, ok = strings.CutPrefix(url, s.Aliases[i]+"/keys/")
	}
	name, version, versioned := strings.Cut(rest, "/")
	if !ok || !ValidName(name) || versioned && !ValidVersion(version) {
		return release.KeyRef{}, ErrKID
	}
	return release.KeyRef{Vault: DefaultVault, Name: name, Version: version}, nil
}

// ValidName tells whether s can name a key: ^[0-9A-Za-z-]{1,127}$.
func ValidName(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// ValidVersion tells whether s can be a version: 32 lower-case hex digits.
func ValidVersion(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16 && hex.EncodeToString(b) == s
}

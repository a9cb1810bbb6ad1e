package keyvault

import (
	"encoding/hex"
	"errors"
	"slices"
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
func (s *Service) KID(ref release.KeyRef) string { return s.url(Keys, ref) }

// url names an object, or with Version one version of it.
func (s *Service) url(c Collection, ref release.KeyRef) string {
	base := s.BaseURL
	if ref.Vault != DefaultVault && len(s.Suffixes) > 0 {
		base = "https://" + ref.Vault + "." + s.Suffixes[0]
	}
	kid := base + "/" + string(c) + "/" + ref.Name
	if ref.Version != "" {
		kid += "/" + ref.Version
	}
	return kid
}

// ParseKID takes a key URL apart. The URL is compared as bytes, never parsed, so
// that it has one reading: a URL with another case of the host, an escape, a
// query or a trailing slash names nothing.
func (s *Service) ParseKID(url string) (release.KeyRef, error) {
	base, path, ok := strings.Cut(url, "/keys/")
	vault := s.vaultOf(base)
	name, version, versioned := strings.Cut(path, "/")
	if !ok || vault == "" || !ValidName(name) || versioned && !ValidVersion(version) {
		return release.KeyRef{}, ErrKID
	}
	return release.KeyRef{Vault: vault, Name: name, Version: version}, nil
}

// ErrVault says that a URL names no vault of this deployment.
var ErrVault = errors.New("not the URL of a vault of this deployment, want https://HOST")

// ParseVault gives the vault that a URL names, compared as bytes like that of a key.
// Whether there is such a vault is not looked up.
func (s *Service) ParseVault(url string) (string, error) {
	if vault := s.vaultOf(url); vault != "" {
		return vault, nil
	}
	return "", ErrVault
}

// vaultOf is the vault whose base URL is base, "" for none.
func (s *Service) vaultOf(base string) string {
	if base == s.BaseURL || slices.Contains(s.Aliases, base) {
		return DefaultVault
	}
	host, _ := strings.CutPrefix(base, "https://")
	for _, suffix := range s.Suffixes {
		if name, ok := strings.CutSuffix(host, "."+suffix); ok && host != base && ValidVault(name) {
			return name
		}
	}
	return ""
}

// ValidVault tells whether s can name a vault: 3 to 24 lower-case letters, digits and
// hyphens, beginning with a letter and ending with none, as Key Vault has it. It is a
// label of a host name.
func ValidVault(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return len(s) >= 3 && len(s) <= 24 && s[0] >= 'a' && s[0] <= 'z' && s[len(s)-1] != '-'
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
